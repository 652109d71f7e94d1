"""How much two tasks' labels go together, features aside.

Absolute Spearman correlation between two regressions (of one column), else normalized mutual
information (arithmetic mean of the entropies; a regression is cut into quintiles, several columns
or labels are reduced to their clusters of equal values or to their first principal axis). P-values
come from permuting one of the two; intervals from a bootstrap over samples.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evidence import kin_matrix

DRAWS = 500
BINS = 5


def estimate(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """Association of every pair of tasks' labels on `rows`; the network is not used."""
    tasks = store.schema.tasks
    kin = kin_matrix(store.schema).numpy()
    masks = store.masks[rows].numpy()
    codes = [_one_number(t.kind, store.target(t.name)[rows].numpy()) for t in tasks]
    count = len(tasks)
    value, low, high, p_value = (np.full((count, count), np.nan) for _ in range(4))
    sizes = np.zeros((count, count), dtype=int)
    for i in range(count):
        for j in range(i):
            both = masks[:, i] & masks[:, j]
            sizes[i, j] = sizes[j, i] = both.sum()
            if kin[i, j] or both.sum() < 3:
                continue
            ranks = tasks[i].kind == "regression" and tasks[j].kind == "regression"
            rng = np.random.default_rng([seed, i, j])
            result = association(codes[i][both], codes[j][both], ranks, rng)
            for matrix, number in zip((value, low, high, p_value), result, strict=True):
                matrix[i, j] = matrix[j, i] = number
    return TaskGraph(
        tasks=store.schema.task_names,
        method="labels",
        question="labels go together",
        value=value,
        low=low,
        high=high,
        p_value=p_value,
        n=sizes,
        derived=kin & ~np.eye(count, dtype=bool),
    )


def association(
    a: np.ndarray, b: np.ndarray, ranks: bool, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Association, its 95 % bootstrap interval and a permutation p-value."""
    measure = _rank_correlation if ranks else _mutual_information
    found = measure(a, b)
    null = np.array([measure(a, rng.permutation(b)) for _ in range(DRAWS)])
    picks = rng.integers(0, len(a), (DRAWS, len(a)))
    drawn = np.array([measure(a[p], b[p]) for p in picks])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return found, float(low), float(high), float((1 + (null >= found).sum()) / (DRAWS + 1))


def _one_number(kind: str, y: np.ndarray) -> np.ndarray:
    """Labels ``[n]``: one number or code per sample."""
    if y.ndim == 1:
        return y
    if y.shape[1] == 1:
        return y[:, 0]
    if kind == "multilabel":
        return np.unique(y, axis=0, return_inverse=True)[1]
    centred = y - y.mean(0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][0]


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import rankdata

    x, y = rankdata(a), rankdata(b)
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(abs(x @ y) / scale) if scale > 0 else 0.0


def _mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Normalized mutual information of two codings, 2 I / (H(a) + H(b))."""
    table = _table(_codes(a), _codes(b))
    joint = table / table.sum()
    x, y = joint.sum(1), joint.sum(0)
    entropies = -sum(float((p[p > 0] * np.log(p[p > 0])).sum()) for p in (x, y))
    inside = joint > 0
    information = float((joint[inside] * np.log(joint[inside] / np.outer(x, y)[inside])).sum())
    return max(0.0, 2 * information / entropies) if entropies > 0 else 0.0


def _table(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    width = int(b.max()) + 1
    flat = np.bincount(a * width + b, minlength=(int(a.max()) + 1) * width)
    return flat.reshape(-1, width).astype(float)


def _codes(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f":
        return np.searchsorted(np.quantile(values, np.arange(1, BINS) / BINS), values)
    return np.unique(values, return_inverse=True)[1]
