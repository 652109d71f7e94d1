"""From a measure of two tasks on the rows that have both labels to a symmetric task graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from gnnfusion.graphs.store import GraphStore
from gnnfusion.relatedness.monte_carlo import p_values
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evidence import kin_matrix

Found = tuple[float, float, float]
"""Value, low and high end of its interval."""
Measure = Callable[[int, int, np.ndarray, np.random.Generator], Found]
Reached = Callable[[int, int, np.ndarray, int, np.random.Generator], float]


def graph_of_pairs(
    method: str,
    question: str,
    store: GraphStore,
    rows: Tensor,
    seed: int,
    measure: Measure,
    reached: Reached,
    *,
    draws: int,
    fewest: int,
    unit: str = "",
    notes: tuple[str, ...] = (),
) -> TaskGraph:
    """Measure every pair of tasks that are no kin.

    Parameters
    ----------
    method, question, unit, notes
        Of the task graph.
    store, rows
        Samples.
    seed
        Each pair has a generator of its own, from this and its places.
    measure
        Called with the places of two tasks, which of `rows` have both labels, and a generator.
    reached
        The same with a number of draws: how many of them, under the null, reach the pair's
        statistic; NaN where there is no test.
    draws
        For the p-value of a pair, to begin with.
    fewest
        Rows with both labels below which a pair cannot be estimated.
    """
    kin = kin_matrix(store.schema).numpy()
    masks = store.masks[rows].numpy()
    count = len(kin)
    value, low, high, p_value = (np.full((count, count), np.nan) for _ in range(4))
    sizes = masks.T.astype(int) @ masks.astype(int)
    usable = ~kin & (sizes >= fewest)
    pairs = [(i, j) for i in range(count) for j in range(i) if usable[i, j]]
    both = [masks[:, i] & masks[:, j] for i, j in pairs]
    rngs = [np.random.default_rng([seed, i, j]) for i, j in pairs]

    def further(places: np.ndarray, draws: int) -> np.ndarray:
        at = [(*pairs[n], both[n], draws, rngs[n]) for n in places]
        return np.array([reached(i, j, rows, some, rng) for i, j, rows, some, rng in at])

    first = further(np.arange(len(pairs)), draws)
    for n, (i, j) in enumerate(pairs):
        found = measure(i, j, both[n], rngs[n])
        for matrix, number in zip((value, low, high), found, strict=True):
            matrix[i, j] = matrix[j, i] = number
    for (i, j), p in zip(pairs, p_values(first, draws, further), strict=True):
        p_value[i, j] = p_value[j, i] = p
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
        notes=notes,
    )
