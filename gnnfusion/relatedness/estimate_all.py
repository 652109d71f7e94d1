"""Task graphs by many methods of one run, on rows that its training has not learned from."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from gnnfusion.errors import UsageError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.relatedness.relate import estimate_run, rows_for
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.run import Run


@dataclass(frozen=True)
class Estimated:
    """What the methods found.

    Parameters
    ----------
    graphs
        By method, of those that can estimate anything.
    seconds
        What each took.
    left_out
        Method -> why it found nothing.
    split
        Where the rows are from: valid, or test for a run without validation rows of its own (a
        refit). Those that `reads_training_rows` read the training rows, too.
    """

    graphs: dict[str, TaskGraph]
    seconds: dict[str, float]
    left_out: dict[str, str]
    split: str


def estimate_all(
    run: Run,
    store: GraphStore,
    methods: Iterable[str],
    *,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
) -> Estimated:
    """Estimate by every method named that fits the run."""
    rows, split = _rows(run, store)
    found = Estimated({}, {}, {}, split)
    for method in methods:
        start = time.perf_counter()
        try:
            known = rows_for(method, store, rows)
            graph = estimate_run(run, store, method, known, seed, device, progress)
        except UsageError as error:
            found.left_out[method] = str(error)
            continue
        found.seconds[method] = time.perf_counter() - start
        if np.isfinite(graph.value).any():
            found.graphs[method] = graph
        else:
            found.left_out[method] = "no pair can be estimated from these labels"
    return found


def _rows(run: Run, store: GraphStore) -> tuple[Tensor, str]:
    valid = store.rows("valid")
    if len(valid) and not run.config.refit:
        return valid, "valid"
    return store.rows("test"), "test"
