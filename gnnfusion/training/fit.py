"""Training: a store in, a run folder out; broken off, it resumes to the same result."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import RichProgressBar
from safetensors.torch import save_file
from torch import Tensor

from gnnfusion.errors import DataError, RunError, UsageError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.views import with_labels_of
from gnnfusion.nn.network import FusionNetwork, network_for
from gnnfusion.training.balancing import make_balancer
from gnnfusion.training.callbacks import RESUME, Keeper, load_resume_point
from gnnfusion.training.card import model_card
from gnnfusion.training.config import TrainConfig, check_tasks
from gnnfusion.training.evaluate import evaluate, pick_device
from gnnfusion.training.heads import train_heads
from gnnfusion.training.module import FusionModule
from gnnfusion.training.objective import static_weights
from gnnfusion.training.probes import FILE, Probes
from gnnfusion.training.run import WEIGHTS, Run, check_same_store, data_of, features_of
from gnnfusion.training.seeding import seed_torch
from gnnfusion.whole import whole_file, write_json, write_text

CARD = "README.md"


def train(
    store: GraphStore | str | Path,
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    progress: bool = False,
    logs: bool = True,
) -> Run:
    """Train a fusion network and evaluate it.

    Called again with the same folder and settings it resumes after the last finished epoch, or
    returns the finished run; randomness depends on (seed, epoch, step) alone, so on the CPU the
    result is that of an unbroken run.

    Parameters
    ----------
    store
        A store or its folder.
    out
        Folder of the run; made if need be.
    config
        Settings; by default `TrainConfig()`.
    progress
        Show a progress bar.
    logs
        Write TensorBoard events to ``logs/``.

    Raises
    ------
    UsageError
        The folder holds a run of another schema or other settings.
    DataError
        There are no training samples, or no validation samples to stop early on.
    """
    config = config or TrainConfig()
    out = Path(out)
    store = store if isinstance(store, GraphStore) else GraphStore.open(store)
    # Before the folder is made: what fails here must not claim it for a run that never began.
    pick_device(config.device)
    _check_rows(store, *_rows(store, config), config, store.schema.task_names)
    # Settings that fit no network, or need what is not installed, fail before a folder is made.
    network_for(store, config.network)
    check_tasks(config, store.schema.task_names)
    make_balancer(config.balancing, static_weights(store))
    _prepare(out, store, config)
    if all((out / name).is_file() for name in (WEIGHTS, "metrics.json", CARD)):
        return Run.load(out)
    network, keeper = fit(store, config, out, progress=progress, logs=logs)
    with whole_file(out / WEIGHTS) as part:
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, part)
    splits = ("test",) if config.refit else ("valid", "test")
    metrics: dict[str, Any] = evaluate(network, store, splits, given=config.evidence > 0)
    metrics["parameters"] = sum(p.numel() for p in network.parameters())
    metrics["seconds"] = keeper.seconds
    metrics["seed"] = config.seed
    metrics["best_epoch"] = keeper.best_epoch
    if keeper.probes:
        Probes.of(keeper.probes).save(out / FILE)
    if config.head_epochs:
        metrics["head_epochs"] = keeper.head_epochs
    write_json(out / "metrics.json", metrics)
    run = Run.load(out)
    write_text(out / CARD, model_card(run, keeper.history))
    (out / RESUME).unlink(missing_ok=True)
    return run


def fit(
    store: GraphStore,
    config: TrainConfig,
    folder: Path | None,
    *,
    tasks: Sequence[str] | None = None,
    progress: bool = False,
    logs: bool = False,
) -> tuple[FusionNetwork, Keeper]:
    """The network with its best (or, refitted, last) weights, and what the epochs left behind.

    Without a folder nothing is written, and nothing can be resumed. With `tasks`, only the labels
    of these are learned and validated on; the network, its first weights, the order of rows and the
    dropout are those of a training on all, so that two such trainings differ by labels alone.
    """
    asked = store.schema.task_names if tasks is None else tuple(tasks)
    store = store if tasks is None else with_labels_of(store, asked)
    train_rows, valid_rows = _rows(store, config)
    _check_rows(store, train_rows, valid_rows, config, asked)
    check_tasks(config, store.schema.task_names)
    device = pick_device(config.device)
    seed_torch("weights", config.seed)
    network = network_for(store, config.network)
    network.fit_statistics(store, train_rows)
    module = FusionModule(network, store, config, train_rows, valid_rows)
    keeper = Keeper(folder, store.schema.task_names, None if config.refit else config.patience)
    state = None if folder is None else load_resume_point(folder)
    if state is not None:
        keeper.load_state_dict(state["callbacks"][keeper.state_key])
    if not keeper.finished:
        with _quiet():
            trainer = pl.Trainer(
                accelerator="gpu" if device.type == "cuda" else "cpu",
                devices=1,
                max_epochs=config.epochs,
                precision=config.precision,  # type: ignore[arg-type]
                gradient_clip_val=config.clip,
                callbacks=[keeper, *([RichProgressBar()] if progress else [])],
                logger=_logger(folder) if logs and folder is not None else False,
                enable_checkpointing=False,
                enable_progress_bar=progress,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                limit_val_batches=0 if config.refit else None,
                reload_dataloaders_every_n_epochs=1,
                deterministic="warn",
                default_root_dir=folder,
            )
            trainer.fit(
                module, ckpt_path=None if state is None or folder is None else folder / RESUME
            )
    if not keeper.best:
        raise RunError("no epoch ended with a finite validation loss; train with a lower lr")
    network.load_state_dict(keeper.best)
    module.average = None  # what heads train on, and are judged by, are the kept weights
    network.to(device)
    left = config.max_seconds - keeper.seconds if config.max_seconds else None
    if config.head_epochs and (left is None or left > 0):
        # Broken off, it begins again at the best epoch, which the checkpoint holds.
        began = time.perf_counter()
        keeper.head_epochs = train_heads(module, left)
        keeper.head_seconds = time.perf_counter() - began
        keeper.best_score = module.valid_score()
    return network.eval(), keeper


def _prepare(out: Path, store: GraphStore, config: TrainConfig) -> None:
    """Make the run folder, or check that the one there is this run."""
    plain = config.to_dict()
    if (out / "config.yaml").is_file():
        check_same_store(out, store)
        # Read as settings: a run of an earlier version names fewer of them, and had the defaults.
        before = Run(out).config.to_dict()
        changed = [k for k in plain if k != "device" and before.get(k) != plain[k]]
        if changed:
            raise UsageError(
                f"{out} holds a run with another {changed[0]!r} "
                f"({before.get(changed[0])!r}, now {plain[changed[0]]!r}); name another folder"
            )
        return
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} exists and is no run folder; name another folder")
    out.mkdir(parents=True, exist_ok=True)
    features = features_of(store)
    write_json(out / "features.json", features)
    store.schema.to_yaml(out / "schema.yaml")
    place = {}
    # A view is not what lies in its store's folder, so the run must not be judged by that.
    if store.path is not None and data_of(GraphStore.open(store.path)) == features["data"]:
        place["store"] = os.path.relpath(store.path, out)
    # Written last: a folder with config.yaml is complete enough to resume.
    text = yaml.safe_dump({**plain, **place}, sort_keys=False)
    write_text(out / "config.yaml", text)


def _rows(store: GraphStore, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Rows to train on and to stop early on; a refit has none of the latter."""
    if config.refit:
        return store.rows("train", "valid"), torch.arange(0)
    return store.rows("train"), store.rows("valid")


def _check_rows(
    store: GraphStore, train: Tensor, valid: Tensor, config: TrainConfig, tasks: Sequence[str]
) -> None:
    if not tasks:
        raise UsageError("the store has no task to train; name tasks in the schema")
    if len(train) == 0:
        raise DataError("the split 'train' is empty")
    if not config.refit and len(valid) == 0:
        raise DataError(
            "the split 'valid' is empty, so training cannot stop early; give it rows or set refit"
        )
    for task in tasks:
        if not store.mask(task)[train].any():
            raise DataError(f"task {task!r} has no label in the split 'train'")
    two = config.modulation > 0 or config.pretext in ("reconstruct", "contrastive")
    if two and not (store.present(train).sum(1) > 1).any():
        what = "modulation" if config.modulation else f"pretext {config.pretext!r}"
        raise UsageError(f"{what} needs training rows with two modalities, and there are none")


def _logger(folder: Path) -> Any:
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name="logs", version="")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice and banners off the terminal."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
