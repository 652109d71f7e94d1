"""One training of a transfer measurement, here or in a process; its result is one small file."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnnfusion.errors import GnnFusionError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.views import with_targets
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.evaluate import loss_table
from gnnfusion.training.fit import fit
from gnnfusion.whole import finite, write_json

THREADS = 1  # in processes and here: the order of sums, so the last bit, depends on their number


@dataclass(frozen=True)
class Training:
    """One training on some of the tasks; what it found is found again by its `key`.

    Parameters
    ----------
    tasks
        Whose labels are learned.
    config
        Settings.
    data
        `digest` of the store and the targets.
    """

    tasks: tuple[str, ...]
    config: TrainConfig
    data: str

    @property
    def key(self) -> str:
        plain = {"tasks": self.tasks, "config": self.config.to_dict(), "data": self.data}
        return hashlib.blake2b(json.dumps(plain).encode(), digest_size=8).hexdigest()


def run_training(
    store: GraphStore, training: Training, folder: Path, targets: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Train, take held-out losses of the tasks trained and write ``KEY.json``.

    Returns
    -------
    dict
        ``tasks``, ``seed``, ``epochs``, ``seconds``; by split the mean loss of each task. Of a
        training that failed, ``failed`` says why.
    """
    began, config = time.perf_counter(), training.config
    result: dict[str, Any] = {"tasks": list(training.tasks), "seed": config.seed}
    try:
        network, keeper = fit(store, config, None, tasks=training.tasks)
        result["epochs"] = len(keeper.history)
        views = {"test": with_targets(store, targets)}
        if not config.refit:
            views["valid"] = store
        for split, view in views.items():
            table = loss_table(network, view, view.rows(split))
            places = {t: store.schema.task_names.index(t) for t in training.tasks}
            result[split] = {t: _mean(table[:, place]) for t, place in places.items()}
    except GnnFusionError as error:
        result["failed"] = str(error)
    result["seconds"] = time.perf_counter() - began
    write_json(folder / f"{training.key}.json", result)
    return result


def _mean(losses: np.ndarray) -> float | None:
    known = losses[np.isfinite(losses)]
    return finite(float(known.mean())) if len(known) else None


# -- in processes -----------------------------------------------------------------------------

_AT: tuple[GraphStore, dict[str, np.ndarray]] | None = None


def start_process(path: str, targets: dict[str, np.ndarray]) -> None:
    """Prepare a process: one thread, the store, opened once, and what test losses are against."""
    global _AT
    torch.set_num_threads(THREADS)
    _AT = GraphStore.open(path), targets


def run_in_process(training: Training, folder: Path) -> dict[str, Any]:
    """`run_training` on what `start_process` opened."""
    assert _AT is not None
    return run_training(_AT[0], training, folder, _AT[1])
