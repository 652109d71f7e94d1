r"""How well one set of values tells another: predicted relatedness against measured gains.

Values are ``[..., R, T]``: a row for each source (or group of tasks), a column for each target. How
large a column's values are depends on the target (how hard it is, in which unit), so values are
compared within a target. NaN is what could not be estimated; it is left out, of both sides alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np

LEAST = 3  # fewer values in a column say nothing: two always correlate by 1 or -1
ENUMERATED = 6  # up to so many tasks every order is tried: 720
HALVINGS = 200
COMPANY = 4.0
"""So many others alike are worth half of what ever so many would be."""

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Agreement ``[...]`` of predicted and true values ``[..., R, T]``."""


def spearman(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean over targets of the rank correlation over sources (ties share their mean rank).

    Parameters
    ----------
    predicted, truth
        ``[..., R, T]``; leading dimensions are broadcast.

    Returns
    -------
    numpy.ndarray
        ``[...]``. A target with fewer than three values, or whose values are all the same on one
        side, counts for nothing; NaN if that is all of them.
    """
    a, b = _paired(predicted, truth)
    correlation, _ = _by_target(_ranks(a), _ranks(b))
    return _mean(correlation, np.isfinite(correlation))


def z_pearson(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    r"""Pearson correlation of values that were standardized within each target, all pooled.

    With :math:`z` of mean 0 and spread 1 in every column this is

    .. math:: r = \frac{\sum_{ij} z^p_{ij} z^t_{ij}}{\sum_j n_j}
                = \frac{\sum_j n_j r_j}{\sum_j n_j}

    the mean of the correlations within targets, weighted by their numbers of values.

    Parameters
    ----------
    predicted, truth
        As in `spearman`.

    Returns
    -------
    numpy.ndarray
        ``[...]``; NaN as in `spearman`.
    """
    correlation, count = _by_target(*_paired(predicted, truth))
    return _mean(correlation, np.where(np.isfinite(correlation), count, 0))


def auroc(predicted: np.ndarray, related: np.ndarray, among: np.ndarray | None = None) -> float:
    """Chance that a related pair has the larger value than an unrelated one; ties count half.

    Parameters
    ----------
    predicted
        ``[T, T]``.
    related
        bool ``[T, T]``.
    among
        Pairs that count, bool ``[T, T]``; all but the diagonal by default.

    Returns
    -------
    float
        NaN without pairs of both sorts.
    """
    counts = ~np.eye(len(related), dtype=bool) if among is None else np.asarray(among, bool)
    counts = counts & np.isfinite(predicted)
    value, positive = np.asarray(predicted)[counts], np.asarray(related, bool)[counts]
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return float("nan")
    ranks = _ranks(value[:, None])[:, 0]
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def qap_p(
    predicted: np.ndarray,
    truth: np.ndarray,
    statistic: Statistic = z_pearson,
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """p-value of an agreement under orders of the tasks that mean nothing; one-sided.

    Entries of a matrix over tasks depend on each other by row and column, so they are not shuffled
    one by one: rows and columns of `predicted` are permuted together (quadratic assignment;
    Hubert and Schultz 1976, Krackhardt 1988). Up to 6 tasks all orders are tried, and the p-value
    is exact.

    Parameters
    ----------
    predicted
        ``[T, T]``.
    truth
        ``[T, T]``, or whatever the statistic compares with.
    statistic
        What is compared; it must take leading dimensions.
    draws
        Orders to draw where not all are tried.
    seed
        Of the draws.

    Returns
    -------
    float
        Share of orders with an agreement at least as large; NaN if there is none to compare.
    """
    return float(qap_of_best([predicted], truth, statistic, draws=draws, seed=seed)[0])


def qap_of_best(
    predicted: Sequence[np.ndarray],
    truth: np.ndarray,
    statistic: Statistic = z_pearson,
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> np.ndarray:
    r"""p-values ``[K]`` of the agreements of K predictions of which the best will be picked.

    .. math:: p_k = P_\pi\bigl(\max_l r(\pi a_l, g) \ge r(a_k, g)\bigr)

    with every prediction in the same order :math:`\pi` (Westfall and Young, 1993): of predictions
    that all mean nothing the best has a p-value of at most 0.05 in 5 %, however many there are and
    however alike. For one it is `qap_p`, whose parameters these are.
    """
    found = np.array([float(statistic(p, truth)) for p in predicted])
    if not np.isfinite(found).any():
        return np.full(len(found), np.nan)
    count = len(predicted[0])
    if count <= ENUMERATED:
        orders = np.array(list(permutations(range(count))))
    else:
        rng = np.random.default_rng(seed)
        orders = rng.permuted(np.tile(np.arange(count), (draws, 1)), axis=1)
        orders = np.vstack([np.arange(count), orders])  # the order as it is belongs to the null
    parts = np.array_split(orders, max(1, len(orders) // 2000))
    each = [
        np.concatenate([statistic(p[o[:, :, None], o[:, None, :]], truth) for o in parts])
        for p in predicted
    ]
    null = np.max([np.where(np.isfinite(e), e, -np.inf) for e in each], axis=0)
    null = null[np.isfinite(null)]
    p_value = (null[:, None] >= found - 1e-12).mean(0)
    return np.where(np.isfinite(found), p_value, np.nan)


def split_half(values: np.ndarray, statistic: Statistic = z_pearson) -> float:
    r"""Reliability of a mean over seeds: agreement of its halves, stepped up to its length.

    Seeds are split into two halves at random, 200 times (of an odd number one is left out), the
    agreement :math:`r` of the halves' means is averaged, and by Spearman and Brown (1910) a mean
    over k times as many seeds as a half has the reliability

    .. math:: \frac{k\, r}{1 + (k - 1)\, r}

    It bounds what any predictor can reach: the expected agreement with the measured mean is at most
    the root of it. It speaks of retraining on the same rows, not of other rows.

    Parameters
    ----------
    values
        ``[S, R, T]``, a slice for each seed.
    statistic
        Agreement of two halves.

    Returns
    -------
    float
        NaN with fewer than two seeds; r itself where it is negative (there is no signal).
    """
    seeds = len(values)
    half = seeds // 2
    if half == 0:
        return float("nan")
    rng = np.random.default_rng(0)
    orders = rng.permuted(np.tile(np.arange(seeds), (HALVINGS, 1)), axis=1)
    first, second = (
        values[part].mean(1) for part in (orders[:, :half], orders[:, half : 2 * half])
    )
    agreement = statistic(first, second)
    if not np.isfinite(agreement).any():
        return float("nan")
    r = float(np.nanmean(agreement))
    longer = seeds / half
    return r if r <= 0 else longer * r / (1 + (longer - 1) * r)


def predicted_gains(value: np.ndarray, members: np.ndarray) -> np.ndarray:
    """What values of pairs ``[T, T]`` say of groups (bool ``[G, T]``): ``[G, T]``.

    A value counts from the mean (`from_mean`), so that company above it is good and company below
    it is not; of the members of a group, `company` is taken.
    """
    return company(from_mean(value), members)


def from_mean(value: np.ndarray) -> np.ndarray:
    """Values of pairs ``[T, T]`` less their mean; NaN on the diagonal.

    Values that are the same in both directions are in one unit for all tasks, and their mean is
    that of all pairs: a task that is like no other is then worse off in any company. Others may be
    in a unit of their target, and count from the mean over its sources.
    """
    others = np.where(np.eye(len(value), dtype=bool), np.nan, value)
    both = np.isfinite(others) & np.isfinite(others.T)
    if np.allclose(others[both], others.T[both], rtol=1e-6, atol=0.0):
        return others - known_mean(others.ravel())
    return others - known_mean(others)


def company(value: np.ndarray, members: np.ndarray) -> np.ndarray:
    r"""What a group's members are worth to each other, ``[..., G, T]``, from pairs ``[..., T, T]``.

    .. math:: c_j(S) = \frac{1}{n + K} \sum_{i \in S,\, i \ne j} v_{ij}

    over the n others whose value is known, with K = `COMPANY`: every further member adds, the later
    ones less. NaN where none is known, and for tasks that are not of the group.
    """
    off = ~np.eye(value.shape[-1], dtype=bool)
    known = np.isfinite(value) & off
    inside = members.astype(float)
    count = inside @ known.astype(float)
    total = inside @ np.where(known, value, 0.0)
    return np.where(members & (count > 0), total / (count + COMPANY), np.nan)


def known_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is known; NaN where nothing is."""
    there = np.isfinite(values)
    count = there.sum(0)
    total = np.where(there, values, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


# -- shared -----------------------------------------------------------------------------------


def _paired(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both of one shape, NaN where either is."""
    a, b = np.broadcast_arrays(np.asarray(predicted, float), np.asarray(truth, float))
    both = np.isfinite(a) & np.isfinite(b)
    return np.where(both, a, np.nan), np.where(both, b, np.nan)


def _by_target(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation over sources and number of values of each target ``[..., T]``."""
    there = np.isfinite(a)
    count = there.sum(-2)
    x, y = _centred(a, there, count), _centred(b, there, count)
    scale = np.sqrt((x * x).sum(-2) * (y * y).sum(-2))
    usable = (count >= LEAST) & _varies(a, there) & _varies(b, there)
    product = (x * y).sum(-2)
    return np.where(usable, product / np.where(usable, scale, 1.0), np.nan), count


def _centred(values: np.ndarray, there: np.ndarray, count: np.ndarray) -> np.ndarray:
    filled = np.where(there, values, 0.0)
    mean = filled.sum(-2, keepdims=True) / np.maximum(count, 1)[..., None, :]
    centred: np.ndarray = np.where(there, filled - mean, 0.0)
    return centred


def _varies(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Whether a column has values that differ; rounding must not make a constant vary."""
    high = np.where(there, values, -np.inf).max(-2)
    low = np.where(there, values, np.inf).min(-2)
    varies: np.ndarray = high - low > 1e-12 * np.maximum(np.abs(high), np.abs(low))
    return varies & np.isfinite(high) & np.isfinite(low)


def _mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted mean over targets; NaN where all weights are 0."""
    total = weight.sum(-1)
    mean = np.where(weight > 0, values * weight, 0.0).sum(-1) / np.maximum(total, 1)
    found: np.ndarray = np.where(total > 0, mean, np.nan)
    return found


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks within each column ``[..., R, T]`` from 1, the mean rank for ties; NaN stays."""
    from scipy.stats import rankdata

    there = np.isfinite(values)
    # What is not there comes last, and so changes no rank of the others.
    ranks = rankdata(np.where(there, values, np.inf), axis=-2)
    return np.where(there, ranks, np.nan)
