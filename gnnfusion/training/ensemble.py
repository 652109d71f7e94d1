"""Several runs as one: their predictions averaged, with equal or fitted weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gnnfusion.errors import UsageError
from gnnfusion.schema import Task
from gnnfusion.training.evaluate import Prediction, outputs, predictions_by_task

if TYPE_CHECKING:
    from gnnfusion.training.run import Run

WEIGHTS = ("equal", "stack")


def check_alike(runs: Sequence[Run]) -> None:
    """`UsageError` unless there are runs, all of the same tasks, kinds and classes."""
    if not runs:
        raise UsageError("no run is named")
    first = runs[0]
    tasks = [(t.name, t.kind, t.columns) for t in first.schema.tasks]
    for run in runs[1:]:
        if [(t.name, t.kind, t.columns) for t in run.schema.tasks] != tasks:
            raise UsageError(f"{run.path} has other tasks than {first.path}")
        if run.features["tasks"] != first.features["tasks"]:
            raise UsageError(f"{run.path} has other classes than {first.path}")


def combine(
    task: Task, parts: Sequence[Prediction], weights: np.ndarray | None = None
) -> Prediction:
    """One prediction from those of several runs.

    Parameters
    ----------
    task
        What is predicted.
    parts
        Predictions of the same rows, one a run.
    weights
        ``[R]``, not negative, sum 1; equal by default.

    Returns
    -------
    tuple
        Regression: the weighted mean. Classes: the weighted mean of probabilities, and from it the
        most probable class, the median class (ordinal), or the labels more probable than not.
    """
    if len(parts) == 1:
        return parts[0]
    share = np.full(len(parts), 1 / len(parts)) if weights is None else weights
    if task.kind == "regression":
        return np.tensordot(share, np.stack([p for p, _ in parts]), 1), None
    probability = np.tensordot(share, np.stack([p for _, p in parts if p is not None]), 1)
    if task.kind == "multilabel":
        return (probability > 0.5).astype(int), probability
    if task.kind == "ordinal":
        above = 1 - probability.cumsum(1)[:, :-1]  # P(y > k)
        return (above > 0.5).sum(1), probability
    return probability.argmax(1), probability


def averaged(
    tasks: Sequence[Task], parts: Sequence[Mapping[str, Prediction]]
) -> dict[str, Prediction]:
    """Task -> `combine` of what several runs predict for the same rows, with equal weights."""
    return {t.name: combine(t, [part[t.name] for part in parts]) for t in tasks}


def fit_weights(runs: Sequence[Run], device: str = "auto") -> dict[str, np.ndarray]:
    r"""Weights ``[R]`` for each task that give the least loss on validation rows (stacking).

    .. math:: w_t = \arg\min_{w \ge 0, \sum w = 1} \sum_i \ell_t(y_i, \textstyle\sum_r w_r p_{ri})

    with the negative log of the probability for classes, and the squared error over each column's
    variance for regression (Breiman 1996, `Stacked regressions
    <https://doi.org/10.1007/BF00117832>`_). A task without validation labels keeps equal weights.

    Raises
    ------
    UsageError
        A run was trained on the validation rows (refit), or runs have different validation rows.
    """
    found = []
    for run in runs:
        if run.config.refit:
            raise UsageError(
                f"{run.path} was trained on its validation rows (refit), so they cannot weigh it; "
                "use equal weights"
            )
        store, network = run.store(), run.network(device)
        rows = store.rows("valid")
        out = outputs(network, store, rows)
        found.append((store, rows, predictions_by_task(network, store, out)))
    store, rows, _ = found[0]
    if any(s.ids(r) != store.ids(rows) for s, r, _ in found[1:]):
        raise UsageError("the runs have different validation rows, so none can weigh them all")
    weights = {}
    for task in store.schema.tasks:
        known = store.mask(task.name)[rows].numpy()
        y = store.target(task.name)[rows].numpy()[known]
        if len(y):
            parts = [(p[known], None if q is None else q[known]) for p, q in
                     (f[task.name] for _, _, f in found)]  # fmt: skip
            weights[task.name] = _least_loss(task, y, parts)
    return weights


def _least_loss(task: Task, y: np.ndarray, parts: Sequence[Prediction]) -> np.ndarray:
    from scipy.optimize import minimize

    count = len(parts)
    stacked = np.stack([p if q is None else q for p, q in parts])
    spread = np.maximum(y.std(0), 1e-12) if task.kind == "regression" else 1.0

    def loss(w: np.ndarray) -> float:
        mean = np.tensordot(w, stacked, 1)
        if task.kind == "regression":
            return float((((mean - y) / spread) ** 2).mean())
        if task.kind == "multilabel":
            right = np.where(y > 0, mean, 1 - mean)
        else:
            right = mean[np.arange(len(y)), y.astype(int)]
        return float(-np.log(np.maximum(right, 1e-12)).mean())

    best = minimize(
        loss, np.full(count, 1 / count), method="SLSQP", bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
    )  # fmt: skip
    w: np.ndarray = np.clip(best.x, 0, None)
    return w / w.sum()
