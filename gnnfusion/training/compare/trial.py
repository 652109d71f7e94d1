"""One training of a comparison, alone in its process; what it found is one small file."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from gnnfusion.errors import GnnFusionError, RunError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.views import with_split, with_weights
from gnnfusion.training.compare.plan import Trial
from gnnfusion.training.crossval import fold_splits
from gnnfusion.training.evaluate import evaluate, loss_table
from gnnfusion.training.fit import fit
from gnnfusion.training.objective import constant_losses
from gnnfusion.whole import write_json


def run_trial(store: GraphStore, trial: Trial, folder: Path) -> dict[str, Any]:
    """Train, score and write ``KEY.json``; a training that fails writes why.

    Returns
    -------
    dict
        ``score``: mean over tasks of the validation loss over that of the training mean;
        ``epochs``, ``seconds``, ``parameters``. Of a final trial also ``metrics`` (by split, task,
        name) and ``sample_scores``: each test sample's share of the test score, their mean.
    """
    try:
        result = _train(store, trial)
    except GnnFusionError as error:
        result = {"failed": str(error)}
    result |= {"candidate": trial.candidate, "config": trial.config.to_dict()}
    result |= {"weights": trial.weights, "fold": trial.fold}
    write_json(folder / f"{trial.key}.json", result)
    return result


class Keyed(Protocol):
    """A training that knows itself by what it depends on."""

    @property
    def key(self) -> str: ...


def load_trial(trial: Keyed, folder: Path) -> dict[str, Any] | None:
    """What a finished training found, or None; one that failed is tried again."""
    path = folder / f"{trial.key}.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return None if "failed" in found else found


def _train(store: GraphStore, trial: Trial) -> dict[str, Any]:
    store = with_weights(store, trial.weights)
    if trial.fold is not None:
        place, folds = trial.fold
        splits = fold_splits(store, folds, seed=trial.config.seed)
        store = with_split(store, next(islice(splits, place, None)))
    network, keeper = fit(store, trial.config, None)
    result: dict[str, Any] = {
        "score": keeper.best_score,
        "epochs": len(keeper.history),
        "seconds": keeper.seconds,
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    if trial.final:
        result["metrics"] = evaluate(network, store, ("valid", "test"), given=False)["split"]
        train, test = store.rows("train"), store.rows("test")
        yardstick = constant_losses(network, store, train, test).double().numpy()
        losses = loss_table(network, store, test)
        known = np.stack([store.mask(t)[test].numpy() for t in store.schema.task_names], 1)
        if not np.isfinite(losses[known]).all():
            raise RunError("a test loss is not finite; train with a lower lr")
        counts = known.sum(0)
        asked = (yardstick > 0) & (counts > 0)  # of labels all alike there is no loss of guessing
        # Weighted so that the mean over samples is the mean over tasks of the loss ratio.
        weight = len(test) / (counts[asked] * yardstick[asked] * asked.sum())
        result["sample_scores"] = np.nansum(losses[:, asked] * weight, axis=1).tolist()
    return result


def start_process(threads: int, path: str) -> None:
    """Prepare a process: its share of the cores, and the store, opened once."""
    global _STORE
    torch.set_num_threads(threads)
    _STORE = GraphStore.open(path)


_STORE: GraphStore | None = None


def run_in_process(trial: Trial, folder: Path) -> dict[str, Any]:
    """`run_trial` on the store that `start_process` opened."""
    assert _STORE is not None
    return run_trial(_STORE, trial, folder)
