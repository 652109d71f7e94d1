r"""How much two tasks' labels go together, features aside.

Absolute Spearman correlation between two regressions (of one column); of every other pair the
information coefficient of correlation (Linfoot, 1957, doi:10.1016/S0019-9958(57)90116-X), which is
on the same scale: of two normal numbers with correlation :math:`\rho` it is :math:`|\rho|`. With
the mutual information I (in nats), what it is by chance E, and what it can be at most, h, the
smaller of the two entropies,

.. math:: r = \sqrt{\frac{1 - e^{-2 I'}}{1 - e^{-2 h}}}, \qquad
          I' = \max\left(0, h\, \frac{I - E}{h - E}\right)

so that labels which tell the other's wholly have 1, however few classes there are. E is the mean
over all permutations of one of the two (Vinh, Epps & Bailey, 2010, JMLR 11:2837). With few classes
it is about (rows - 1) (columns - 1) / (2 n), the correction of Miller and Madow; that one counts
the cells that occur, which is far too few with many classes: of two independent labels with 30
classes each and 200 rows it leaves r = 0.95. A regression is cut into quintiles, which takes a
little of r; several columns or labels are reduced to their clusters of equal values or to their
first principal axis.

P-values come from permuting one of the two, and compare I: permutations change neither h nor E, so
r has the same order. Intervals, over samples: of correlations `intervals.correlation_interval` of a
percentile bootstrap of the signed value (of the ranks taken once); of information
`intervals.square_interval`, see `_interval`.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.estimators import TOGETHER
from gnnfusion.relatedness.estimators.pairs import Found, graph_of_pairs
from gnnfusion.relatedness.intervals import correlation_interval, square_interval
from gnnfusion.relatedness.monte_carlo import pieces
from gnnfusion.relatedness.task_graph import TaskGraph

DRAWS = 5000
BINS = 5
FEWEST_EXPECTED = 5  # rows in each cell of the table, for an interval


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
    a, b = _compared(a, b, ranks)
    measure = _correlations if ranks else _information
    found, times = float(measure(a, b[None])[0]), 0
    cells = 0 if ranks else (int(a.max()) + 1) * (int(b.max()) + 1)
    for size in pieces(draws, max(len(b), cells)):
        shuffled = rng.permuted(np.broadcast_to(b, (size, len(b))), axis=1)
        times += int((measure(a, shuffled) >= found - 1e-12).sum())
    return float(times)


def with_interval(
    a: np.ndarray, b: np.ndarray, ranks: bool, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Association and its 95 % interval; of information see `_interval`."""
    a, b = _compared(a, b, ranks)
    if ranks:
        found = float(_correlations(a, b[None])[0])
        low, high = np.quantile(_resampled(a, b, rng), [0.025, 0.975])
        return found, *correlation_interval(found if a @ b >= 0 else -found, low, high)
    table = _table(a, b)
    found = float(np.sqrt(_square(*_adjusted(table))))
    low, high = _interval(a, b, table)
    return found, float(np.minimum(found, low)), float(np.maximum(found, high))


def _compared(a: np.ndarray, b: np.ndarray, ranks: bool) -> tuple[np.ndarray, np.ndarray]:
    """Both labels as they are compared: ranks with mean 0 and length 1, else codes 0, 1, .. that
    all occur."""
    return (_ranks(a), _ranks(b)) if ranks else (_codes(a), _codes(b))


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

    ranks: np.ndarray = rankdata(values) - (len(values) + 1) / 2
    return ranks / max(float(np.linalg.norm(ranks)), 1e-12)


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Absolute correlation of `a` ``[n]`` with each row of `b` ``[D, n]``, both as `_ranks`."""
    found: np.ndarray = np.minimum(np.abs(b @ a), 1.0)  # equal labels may round to more
    return found


def _resampled(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Signed correlations of `DRAWS` samples of the rows, which do not depend on the pieces."""
    found, n = [], len(a)
    moments = np.column_stack([a, b, a * a, b * b, a * b])
    for size in pieces(DRAWS, n):
        # How often each row was drawn says all, and sums are then one product of matrices.
        cells = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        times = np.bincount(cells.ravel(), minlength=size * n).reshape(size, n)
        x, y, xx, yy, xy = (times @ moments / n).T
        scale = np.sqrt(np.maximum(xx - x * x, 0) * np.maximum(yy - y * y, 0))
        found.append(np.where(scale > 1e-12 / n, (xy - x * y) / np.maximum(scale, 1e-12 / n), 0.0))
    return np.concatenate(found)


def _interval(a: np.ndarray, b: np.ndarray, table: np.ndarray) -> tuple[float, float]:
    r"""95 % interval of the coefficient of codes and their table; the value may lie outside.

    It is that of :math:`r^2` with I in place of I', for `square_interval` takes off itself what
    chance adds, and a value set to 0 would have no spread. As :math:`r^2` is skewed near 1, it goes
    in as what is nearly symmetric there: with k classes, of the label that has fewer,

    .. math:: u = \frac{-\log(1 - (1 - k^{-2})\, r^2)}{2 \log k}

    which is I / h if all classes are equally frequent, and between 0 and 1 in any case.

    There is none (NaN) where independent labels would have fewer than five rows in some cell, so
    always where rows x columns of the table exceed n / 5: with one or two rows a cell it holds the
    truth in 80 to 90 %. It also is too narrow where a cell that is rare, though possible, is empty:
    of labels that tell each other without fail it is 1 to 1.
    """
    if table.sum(1).min() * table.sum(0).min() < FEWEST_EXPECTED * len(a):
        return float("nan"), float("nan")
    classes = min(table.shape)
    if classes == 1:
        return 0.0, 0.0
    reach, most = 1 - classes**-2.0, 2 * np.log(classes)
    squares = np.append(_squares_without(a, b, table), _square(*_plain(table)))
    shares = -np.log1p(-reach * squares) / most
    ends = np.array(square_interval(float(shares[-1]), shares[:-1]))
    low, high = np.sqrt(np.clip(-np.expm1(-most * ends) / reach, 0, 1))
    return float(low), float(high)


def _information(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mutual information I in nats of codes `a` ``[n]`` and each row of codes `b` ``[D, n]``."""
    draws, width, height = len(b), int(b.max()) + 1, int(a.max()) + 1
    cell = (np.arange(draws)[:, None] * height + a) * width + b
    table = np.bincount(cell.ravel(), minlength=draws * height * width)
    joint = table.reshape(draws, height, width) / len(a)
    entropies = _entropy(joint.sum(2)) + _entropy(joint.sum(1))
    found: np.ndarray = entropies - _entropy(joint.reshape(draws, -1))
    return found


def _plain(table: np.ndarray) -> tuple[float, float]:
    """Information I of a table, and the most it can be, h: the smaller entropy of the two."""
    shares = table / table.sum()
    of_a, of_b, joint = (
        float(_entropy(p.reshape(1, -1))[0]) for p in (shares.sum(1), shares.sum(0), shares)
    )
    return of_a + of_b - joint, min(of_a, of_b)


def _adjusted(table: np.ndarray) -> tuple[float, float]:
    """Information I' of a table, without what it has by chance, and the most it can be, h."""
    from sklearn.metrics.cluster import expected_mutual_information  # not at the top: it is slow

    information, most = _plain(table)
    chance = expected_mutual_information(table, int(table.sum()))
    room = most - chance
    # no room: all permutations are alike (one class, or no two rows of one class)
    return (max(0.0, most * (information - chance) / room) if room > 1e-9 else 0.0), most


def _square(information: np.ndarray | float, most: np.ndarray | float) -> np.ndarray:
    """Square of the coefficient, between 0 and 1; 0 where a label has but one class."""
    top, at_most = -np.expm1(-2 * np.asarray(information)), -np.expm1(-2 * np.asarray(most))
    return np.where(at_most > 1e-9, np.clip(top / np.maximum(at_most, 1e-9), 0, 1), 0.0)


def _squares_without(a: np.ndarray, b: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Square of the coefficient, with I as it is, of all rows but one, for each row, ``[n]``."""
    n, rows, columns = len(a), table.sum(1), table.sum(0)
    term = np.arange(n + 1) * np.log(np.maximum(np.arange(n + 1), 1))  # m log m

    def entropy(counts: np.ndarray, mine: np.ndarray) -> np.ndarray:
        left: np.ndarray = term[counts].sum() - term[mine] + term[mine - 1]
        return np.log(n - 1) - left / (n - 1)

    of_a, of_b = entropy(rows, rows[a]), entropy(columns, columns[b])
    return _square(of_a + of_b - entropy(table, table[a, b]), np.minimum(of_a, of_b))


def _table(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How often each pair of codes occurs."""
    table = np.zeros((int(a.max()) + 1, int(b.max()) + 1), dtype=int)
    np.add.at(table, (a, b), 1)
    return table


def _entropy(p: np.ndarray) -> np.ndarray:
    """Entropy in nats of each row."""
    terms: np.ndarray = -p * np.log(np.where(p > 0, p, 1.0))
    return terms.sum(1)


def _codes(values: np.ndarray) -> np.ndarray:
    """Codes 0, 1, .. of which each occurs: of numbers their quintile."""
    if values.dtype.kind == "f":
        values = np.searchsorted(np.quantile(values, np.arange(1, BINS) / BINS), values)
    return np.unique(values, return_inverse=True)[1]
