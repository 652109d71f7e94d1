"""From a trained run to its task graph: one function over all estimators."""

from __future__ import annotations

import importlib
from pathlib import Path

from gnnfusion.errors import UsageError
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.run import Run

ESTIMATORS = {
    "evidence": "gnnfusion.relatedness.estimators.evidence",
    "labels": "gnnfusion.relatedness.estimators.labels",
    "attention": "gnnfusion.relatedness.estimators.attention",
}


def relate(
    run: Run | str | Path,
    method: str = "evidence",
    *,
    splits: tuple[str, ...] = ("valid", "test"),
    seed: int = 0,
    device: str = "auto",
) -> TaskGraph:
    """Which tasks are related, by one method, with intervals and a null.

    Parameters
    ----------
    run
        A trained run or its folder.
    method
        ``evidence``: how much knowing label i lowers the loss of task j beyond the features.
        ``labels``: how much the labels themselves go together.
        ``attention``: attention between task nodes, beside its control.
    splits
        Held-out rows to measure on.
    seed
        Of the bootstrap and the permutations.
    device
        auto, cpu or cuda.

    Raises
    ------
    UsageError
        The method is unknown or does not fit the run's fusion, or there are fewer than two tasks or
        no rows.
    """
    if method not in ESTIMATORS:
        raise UsageError(f"unknown method {method!r}; use one of {', '.join(ESTIMATORS)}")
    run = run if isinstance(run, Run) else Run.load(run)
    if method == "evidence":
        run.check_reads_labels()
    store = run.store()
    if len(store.schema.tasks) < 2:
        raise UsageError("a task graph needs at least two tasks")
    if not splits:  # of which `rows` would make all, the training rows among them
        raise UsageError("no split is named to measure on; name valid, test or both")
    rows = store.rows(*splits)
    if len(rows) == 0:
        raise UsageError(f"there are no samples in {' and '.join(splits)}; name other --splits")
    module = importlib.import_module(ESTIMATORS[method])
    graph: TaskGraph = module.estimate(run.network(device), store, rows, seed)
    return graph
