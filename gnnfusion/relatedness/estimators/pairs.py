"""From a measure of two tasks on the rows that have both labels to a symmetric task graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from gnnfusion.graphs.store import GraphStore
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evidence import kin_matrix

Found = tuple[float, float, float, float]
"""Value, low and high end of its interval, p-value."""
Measure = Callable[[int, int, np.ndarray, np.random.Generator], Found]


def graph_of_pairs(
    method: str,
    question: str,
    store: GraphStore,
    rows: Tensor,
    seed: int,
    measure: Measure,
    *,
    fewest: int,
    unit: str = "",
) -> TaskGraph:
    """Measure every pair of tasks that are no kin.

    Parameters
    ----------
    method, question, unit
        Of the task graph.
    store, rows
        Samples.
    seed
        Each pair has a generator of its own, from this and its places.
    measure
        Called with the places of two tasks, which of `rows` have both labels, and a generator.
    fewest
        Rows with both labels below which a pair cannot be estimated.
    """
    kin = kin_matrix(store.schema).numpy()
    masks = store.masks[rows].numpy()
    count = len(kin)
    value, low, high, p_value = (np.full((count, count), np.nan) for _ in range(4))
    sizes = np.zeros((count, count), dtype=int)
    for i in range(count):
        for j in range(i):
            both = masks[:, i] & masks[:, j]
            sizes[i, j] = sizes[j, i] = both.sum()
            if kin[i, j] or both.sum() < fewest:
                continue
            result = measure(i, j, both, np.random.default_rng([seed, i, j]))
            for matrix, number in zip((value, low, high, p_value), result, strict=True):
                matrix[i, j] = matrix[j, i] = number
    return TaskGraph(
        tasks=store.schema.task_names,
        method=method,
        question=question,
        value=value,
        low=low,
        high=high,
        p_value=p_value,
        n=sizes,
        derived=kin & ~np.eye(count, dtype=bool),
        symmetric=True,
        unit=unit,
    )


def folded(bounds: np.ndarray) -> tuple[float, float]:
    """Interval of an absolute value from that of the signed one, which covers it as often.

    Resampled absolute values would not: near 0 all of them lie on one side.
    """
    low, high = float(bounds[0]), float(bounds[1])
    if low < 0 < high:
        return 0.0, max(-low, high)
    return min(abs(low), abs(high)), max(abs(low), abs(high))
