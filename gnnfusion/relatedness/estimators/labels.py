"""How much two tasks' labels go together, features aside.

Absolute Spearman correlation between two regressions (of one column), else normalized mutual
information (arithmetic mean of the entropies; a regression is cut into quintiles, several columns
or labels are reduced to their clusters of equal values or to their first principal axis). P-values
come from permuting one of the two. Intervals, over samples: of correlations percentile bootstraps
of the signed value (of the ranks taken once), folded where they span 0; of information
`intervals.square_interval`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.estimators import TOGETHER
from gnnfusion.relatedness.estimators.pairs import Found, folded, graph_of_pairs
from gnnfusion.relatedness.intervals import square_interval
from gnnfusion.relatedness.monte_carlo import pieces
from gnnfusion.relatedness.task_graph import TaskGraph

DRAWS = 5000
BINS = 5

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


def estimate(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """Association of every pair of tasks' labels on `rows`; the network is not used."""
    tasks = store.schema.tasks
    codes = [
        _one_number(t.kind, store.target(t.name)[rows].numpy(), store.mask(t.name)[rows].numpy())
        for t in tasks
    ]

    def ranked(i: int, j: int) -> bool:
        return tasks[i].kind == tasks[j].kind == "regression"

    def measure(i: int, j: int, both: np.ndarray, rng: np.random.Generator) -> Found:
        return with_interval(codes[i][both], codes[j][both], ranked(i, j), rng)

    def null(i: int, j: int, both: np.ndarray, draws: int, rng: np.random.Generator) -> float:
        return reached(codes[i][both], codes[j][both], ranked(i, j), draws, rng)

    return graph_of_pairs(
        "labels", TOGETHER, store, rows, seed, measure, null, draws=DRAWS, fewest=3
    )


def association(
    a: np.ndarray, b: np.ndarray, ranks: bool, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Association, its 95 % interval and a permutation p-value."""
    times = reached(a, b, ranks, DRAWS, rng)
    return *with_interval(a, b, ranks, rng), (1 + times) / (DRAWS + 1)


def reached(
    a: np.ndarray, b: np.ndarray, ranks: bool, draws: int, rng: np.random.Generator
) -> float:
    """How many permutations of `b` associate it with `a` as much as it is."""
    a, b, measure = _measured(a, b, ranks)
    found, times = float(measure(a[None], b[None])[0]), 0
    for size in pieces(draws, len(b)):
        shuffled = rng.permuted(np.broadcast_to(b, (size, len(b))), axis=1)
        null = measure(np.broadcast_to(a, shuffled.shape), shuffled)
        times += int((null >= found - 1e-12).sum())
    return float(times)


def with_interval(
    a: np.ndarray, b: np.ndarray, ranks: bool, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Association and its 95 % interval."""
    a, b, measure = _measured(a, b, ranks)
    found = float(measure(a[None], b[None])[0])
    if not ranks:
        return found, *square_interval(found, _information_without(a, b))
    picks = rng.integers(0, len(a), (DRAWS, len(a)))
    return found, *folded(np.quantile(_signed(a[picks], b[picks]), [0.025, 0.975]))


def _measured(a: np.ndarray, b: np.ndarray, ranks: bool) -> tuple[np.ndarray, np.ndarray, Measure]:
    """Both labels as they are compared, and the measure of rows ``[D, n]`` of them."""
    if ranks:
        return _ranks(a), _ranks(b), _correlation
    return _codes(a), _codes(b), _mutual_information


def _one_number(kind: str, y: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Labels ``[n]``: one number or code per sample, which means nothing where none is known."""
    if y.ndim == 1:
        return y
    if y.shape[1] == 1:
        return y[:, 0]
    if kind == "multilabel":
        return np.unique(y, axis=0, return_inverse=True)[1]
    if not known.any():
        return y[:, 0]
    centred = y - y[known].mean(0)  # what is not known is stored as 0, which would turn the axis
    return centred @ np.linalg.svd(centred[known], full_matrices=False)[2][0]


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    ranks: np.ndarray = rankdata(values)
    return ranks


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Absolute correlation of each row of `a` ``[D, n]`` with that of `b`."""
    found: np.ndarray = np.abs(_signed(a, b))
    return found


def _signed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    x, y = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    scale = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    covariance: np.ndarray = (x * y).sum(1)
    return covariance / np.maximum(scale, 1e-12)


def _mutual_information(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Normalized mutual information 2 I / (H(a) + H(b)) of each pair of rows ``[D, n]``."""
    draws, width, height = len(a), int(b.max()) + 1, int(a.max()) + 1
    cell = (np.arange(draws)[:, None] * height + a) * width + b
    table = np.bincount(cell.ravel(), minlength=draws * height * width)
    joint = table.reshape(draws, height, width) / a.shape[1]
    entropies = _entropy(joint.sum(2)) + _entropy(joint.sum(1))
    information = entropies - _entropy(joint.reshape(draws, -1))
    return np.clip(2 * information / np.maximum(entropies, 1e-12), 0, 1)


def _information_without(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Normalized mutual information of all rows but one, for each row, ``[n]``."""
    n, rows, columns = len(a), np.bincount(a), np.bincount(b)
    table = np.zeros((len(rows), len(columns)), dtype=int)
    np.add.at(table, (a, b), 1)
    term = np.arange(n + 1) * np.log(np.maximum(np.arange(n + 1), 1))  # m log m

    def entropy(counts: np.ndarray, mine: np.ndarray) -> np.ndarray:
        left: np.ndarray = term[counts].sum() - term[mine] + term[mine - 1]
        return np.log(n - 1) - left / (n - 1)

    entropies = entropy(rows, rows[a]) + entropy(columns, columns[b])
    information = entropies - entropy(table, table[a, b])
    return np.clip(2 * information / np.maximum(entropies, 1e-12), 0, 1)


def _entropy(p: np.ndarray) -> np.ndarray:
    """Entropy in nats of each row."""
    terms: np.ndarray = -p * np.log(np.where(p > 0, p, 1.0))
    return terms.sum(1)


def _codes(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f":
        return np.searchsorted(np.quantile(values, np.arange(1, BINS) / BINS), values)
    return np.unique(values, return_inverse=True)[1]
