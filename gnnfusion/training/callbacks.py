"""What happens at the end of an epoch: history, best weights, early stopping, a point to resume."""

from __future__ import annotations

import csv
import pickle
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from gnnfusion.errors import RunError
from gnnfusion.training.module import FusionModule
from gnnfusion.training.run import INTERFERENCE
from gnnfusion.whole import whole_file

RESUME = "last.ckpt"


class Keeper(pl.Callback):
    """Keeps history and best weights, stops early, and writes one resumable checkpoint an epoch.

    All of it is in that one file, written under a temporary name and renamed, so a run that is
    killed at any moment resumes from a state that is consistent in itself.

    Parameters
    ----------
    folder
        The run's folder; ``history.csv`` and ``last.ckpt`` are written there. None writes nothing.
    tasks
        Names of the tasks, for the columns of the history.
    patience
        Epochs without improvement before stopping; None never stops and keeps the last weights.
    """

    def __init__(self, folder: Path | None, tasks: tuple[str, ...], patience: int | None) -> None:
        self.folder, self.tasks, self.patience = folder, tasks, patience
        self.history: list[dict[str, float]] = []
        self.interference: list[dict[str, Any]] = []
        self.probes: list[dict[str, Tensor]] = []
        self.best_score = float("inf")
        self.best_epoch = -1
        self.best: dict[str, Tensor] = {}
        self.finished = False
        # Of the phase after the last epoch, which is never resumed.
        self.head_epochs: dict[str, int] = {}
        self.head_seconds = 0.0
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """What all epochs took, those of the heads included."""
        return sum(row["seconds"] for row in self.history) + self.head_seconds

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.history,
            "interference": self.interference,
            "probes": self.probes,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "best": self.best,
            "finished": self.finished,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, value in state_dict.items():
            setattr(self, name, value)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FusionModule)
        epoch = trainer.current_epoch
        row: dict[str, float] = {"epoch": epoch}
        losses_by_split = pl_module.epoch_losses()
        # Before the checkpoint is written, so that what a balancer learns here is in it.
        pl_module.balancer.end_epoch(losses_by_split["train"], pl_module.relative_losses())
        self.interference += pl_module.interference.rows(epoch)
        self.probes += pl_module.probes
        pl_module.probes = []
        for split, losses in losses_by_split.items():
            row |= {f"{split}_{t}": float(v) for t, v in zip(self.tasks, losses, strict=True)}
        score = pl_module.valid_score() if self.patience is not None else float(-epoch)
        if self.patience is not None:
            row["valid_score"] = score
        row["seconds"] = time.perf_counter() - self._began
        self.history.append(row)
        if score < self.best_score:
            self.best_score, self.best_epoch = score, epoch
            self.best = {
                k: v.detach().cpu().clone() for k, v in pl_module.kept.state_dict().items()
            }
        late = (self.patience is not None and epoch - self.best_epoch >= self.patience) or (
            0 < pl_module.config.max_seconds <= self.seconds
        )
        self.finished = late or epoch + 1 >= pl_module.config.epochs
        if late:
            trainer.should_stop = True
        if self.folder is not None:
            self._save(trainer, row, self.folder)

    def _save(self, trainer: pl.Trainer, row: dict[str, float], folder: Path) -> None:
        write_rows(folder / "history.csv", self.history)
        if self.interference:
            write_rows(folder / INTERFERENCE, self.interference)
        if trainer.logger is not None:
            trainer.logger.log_metrics(row, step=trainer.current_epoch)  # type: ignore[arg-type]
        with whole_file(folder / RESUME) as part:
            trainer.save_checkpoint(part)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the epochs so far, whole or not at all."""
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def load_resume_point(folder: Path) -> dict[str, Any] | None:
    """The checkpoint of a run that was broken off, or None.

    Only plain containers and tensors are unpickled.

    Raises
    ------
    RunError
        The checkpoint is damaged.
    """
    path = folder / RESUME
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise RunError(f"{path} is corrupt; remove it to train again from the start") from error
    return state
