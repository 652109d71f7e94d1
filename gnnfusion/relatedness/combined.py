r"""One prediction of what training together does, from several estimators and a few measurements.

Every estimator's values are standardized over all pairs of tasks, which forgets their units. Those
of one family are variants of one idea and are averaged; the mean over families is the combined
score of a pair, and a group's score for task j is that of its `company`.

Measured gains of some groups then fit a Bayesian linear regression

.. math:: G_j(S) = a + a_j + b\, \bar s_j(S) + \sum_k w_k s_{kj}(S) + \varepsilon,
          \qquad w_k \sim N(0, \tau^2),\ a_j \sim N(0, \rho^2),\ \varepsilon \sim N(0, \sigma^2)

with a flat prior on a, and on b one of mean 2 and spread 1, in spreads of the gains: few noisy
gains must not turn company that is alike into bad company. So with few measurements all families
weigh the same, and with more those that predict well weigh more; :math:`a_j` is what any company
does to task j. Fits are averaged over a grid of :math:`\tau, \rho, \sigma`, weighed by marginal
likelihood (MacKay, 1992, doi:10.1162/neco.1992.4.3.415; the best alone is too sure of itself) times
a half-normal prior on :math:`\tau`: with a few dozen gains the likelihood alone often takes noise
for a difference between families.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from gnnfusion.errors import UsageError
from gnnfusion.relatedness.agreement import company, known_mean
from gnnfusion.relatedness.estimators import ESTIMATORS, HELPS
from gnnfusion.relatedness.grouping import Split, best_split
from gnnfusion.relatedness.task_graph import TaskGraph

SINGLE_TRAINING: Sequence[str] = ("residuals", "coregionalization")
"""What `combined` is made of: what one training tells, without probes.

Chosen on planted data of seeds 100 to 105, where it finds the related pairs (AUROC 0.985) as no
other combination tried, and foretells 0.55 of measured gains (z-Pearson, mean of six sets); with
gradient, cka, rsa and cross_prediction, too, these are 0.976 and 0.53, and of all but
coregionalization 0.977 and 0.49.
"""

PREDICTORS: Sequence[str] = ("coregionalization",)
"""What a prediction that is fitted to measured groups leans on.

Chosen on planted data of seeds 100 to 102, with overlapping labels and with one label a row: with
it the fit foretold 0.59 of other groups' gains (z-Pearson, mean of the six), with `labels`, too,
0.57, with labels and cross_prediction 0.53.
"""

FLAT = 1e3  # spread of the prior on a, in spreads of the gains
SLOPE, SLOPE_SPREAD = 2.0, 1.0  # of that on b; all gains of those six sets say 1.6 to 3.6
RATIOS = np.geomspace(1e-3, 3, 12)  # of tau to the spread of the gains
LIKELY = 0.3  # spread of the prior on tau, in spreads of the gains
OWN = (1e-3, 0.3, 1.0)  # of rho to the spread of the gains
NOISES = np.geomspace(0.05, 1.5, 12)  # of sigma to the spread of the gains
NEGLIGIBLE = 12.0  # fits less likely than the best by this factor's logarithm


def standard_scores(value: np.ndarray) -> np.ndarray:
    """Values of pairs ``[T, T]`` less their mean, over their spread, both over all that are
    estimable; NaN elsewhere, and 0 where all are alike."""
    known = np.isfinite(value) & ~np.eye(len(value), dtype=bool)
    out = np.full(value.shape, np.nan)
    values = value[known]
    if len(values):
        spread = float(values.std())
        out[known] = (values - values.mean()) / (spread if spread > 0 else 1.0)
    return out


def family_scores(graphs: Mapping[str, TaskGraph]) -> dict[str, np.ndarray]:
    """Standard scores ``[T, T]`` by family: the mean over the methods of each that are given.

    Raises
    ------
    UsageError
        No graph is given, or they are of different tasks.
    """
    if not graphs:
        raise UsageError("there is no task graph to combine")
    if len({g.tasks for g in graphs.values()}) > 1:
        raise UsageError("the task graphs to combine are of different tasks")
    found: dict[str, list[np.ndarray]] = {}
    for name, graph in graphs.items():
        found.setdefault(ESTIMATORS[name].family, []).append(standard_scores(graph.value))
    return {family: known_mean(np.stack(each)) for family, each in found.items()}


def _over_families(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """The combined score of each pair."""
    return known_mean(np.stack(list(scores.values())))


def combine(graphs: Mapping[str, TaskGraph]) -> TaskGraph:
    """The combined score of each pair, from graphs by method; no interval and no test.

    A family that cannot estimate a pair is left out of that pair's mean.
    """
    value = _over_families(family_scores(graphs))
    first = next(iter(graphs.values()))
    nothing = np.full_like(value, np.nan)
    return replace(
        first,
        method="combined",
        question=HELPS,
        value=value,
        low=nothing,
        high=nothing,
        p_value=nothing,
        symmetric=all(g.symmetric for g in graphs.values()),
        null=0.0,
        unit="mean standard score over families of estimators",
        ranks_only=True,
        retrained=None,
        control={},
        notes=(f"from {', '.join(graphs)}",),
    )


@dataclass(frozen=True)
class Predictor:
    """A fitted prediction of gains; K families.

    Parameters
    ----------
    scores
        Family -> ``[T, T]``.
    mean, covariance
        Of the C = K + 2 + T coefficients (a, b, w, a_j), ``[C]`` and ``[C, C]``.
    noise
        Spread of a measured gain about its expectation.
    """

    scores: Mapping[str, np.ndarray]
    mean: np.ndarray
    covariance: np.ndarray
    noise: float

    def predict(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected gains and their standard deviations (without noise), ``[G, T]`` each.

        Parameters
        ----------
        members
            Which tasks are in which group, bool ``[G, T]``. NaN for tasks that are not in it.
        """
        x = _features(self.scores, members)
        expected = x @ self.mean
        spread = np.sqrt(np.einsum("gtk,kl,gtl->gt", x, self.covariance, x))
        return expected, np.where(np.isfinite(expected), spread, np.nan)

    def worth(self, groups: Sequence[Sequence[int]]) -> np.ndarray:
        """What groups of places are expected to gain, each summed over its members; 0 of one."""
        worth: np.ndarray = np.nan_to_num(_features(self.scores, self._members(groups))).sum(1)
        return worth @ self.mean

    def value(self, split: Split) -> tuple[float, float]:
        """What a split is expected to gain, mean over tasks, and the standard deviation of that."""
        members = self._members(split)
        x = np.nan_to_num(_features(self.scores, members)).sum((0, 1)) / members.shape[1]
        return float(x @ self.mean), float(np.sqrt(x @ self.covariance @ x))

    def _members(self, groups: Sequence[Sequence[int]]) -> np.ndarray:
        """Groups of places as bool ``[G, T]``."""
        members = np.zeros((len(groups), len(next(iter(self.scores.values())))), dtype=bool)
        for row, group in zip(members, groups, strict=True):
            row[list(group)] = True
        return members

    def split(self, most: int) -> Split:
        """The best split into at most so many groups: `best_split` by expected gains, which tell
        where company is no better than none, as no estimator's values do."""
        return best_split(np.nan_to_num(_over_families(self.scores)), most, worth=self.worth)

    def next_groups(self, members: np.ndarray, count: int) -> list[int]:
        r"""Which of the candidate groups ``[G, T]`` to measure next: those known the least.

        One after the other, the group whose gains have the largest variance, mean over its members
        (a sum would choose the largest groups). How certain the fit will be of the others does not
        depend on what will be measured, only on where, so it is known before:

        .. math:: C' = C - C X^\top (X C X^\top + \sigma^2 I)^{-1} X C
        """
        x, covariance, chosen = _features(self.scores, members), self.covariance, list[int]()
        for _ in range(count):
            variance = known_mean(np.einsum("gtk,kl,gtl->gt", x, covariance, x, optimize=True).T)
            variance[chosen] = -np.inf
            chosen.append(int(np.nanargmax(variance)))
            at = x[chosen[-1]][members[chosen[-1]]]
            ahead = at @ covariance
            noise = self.noise**2 * np.eye(len(at))
            covariance = covariance - ahead.T @ np.linalg.solve(ahead @ at.T + noise, ahead)
        return chosen


def fit_predictor(
    graphs: Mapping[str, TaskGraph], members: np.ndarray, gains: np.ndarray
) -> Predictor:
    """Fit the combined prediction to measured groups.

    Parameters
    ----------
    graphs
        Task graphs by method.
    members
        The groups measured, bool ``[G, T]``.
    gains
        Their gains ``[G, T]``; NaN where not measured.

    Raises
    ------
    UsageError
        Fewer than three gains are measured.
    """
    scores = family_scores(graphs)
    x = _features(scores, members)
    used = np.isfinite(gains) & np.isfinite(x).all(2)
    if used.sum() < 3:
        raise UsageError("the combined prediction needs at least three measured gains")
    x, y = x[used], gains[used]
    scale = max(float(y.std()), 1e-12)
    off = y - SLOPE * scale * x[:, 1]
    fits = []
    for ratio, own in product(RATIOS, OWN):
        believed = [FLAT, SLOPE_SPREAD, *[ratio] * len(scores), *[own] * gains.shape[1]]
        drawn = np.array(believed) * scale
        # y ~ N(X m, X diag(drawn^2) X' + noise^2 I), m but the slope's 0
        size, axes = np.linalg.eigh((x * drawn**2) @ x.T)
        along = np.square(off @ axes)
        for noise in NOISES:
            spread = np.maximum(size, 0) + (noise * scale) ** 2
            misfit = np.log(spread).sum() + (along / spread).sum()
            fits.append((-0.5 * (misfit + (ratio / LIKELY) ** 2), drawn, noise * scale))
    best = max(fitness for fitness, *_ in fits)
    weights, means, covariances, variances = [], [], [], []
    for fitness, drawn, sigma in fits:
        if fitness > best - NEGLIGIBLE:
            weights.append(np.exp(fitness - best))
            covariances.append(np.linalg.inv(x.T @ x / sigma**2 + np.diag(drawn**-2.0)))
            means.append(covariances[-1] @ x.T @ off / sigma**2)
            variances.append(sigma**2)
    share = np.array(weights) / sum(weights)
    mean = share @ np.array(means)
    apart = np.array(means) - mean
    covariance = np.einsum("k,kab->ab", share, covariances) + (share * apart.T) @ apart
    mean[1] += SLOPE * scale
    return Predictor(scores, mean, covariance, float(np.sqrt(share @ variances)))


def _features(scores: Mapping[str, np.ndarray], members: np.ndarray) -> np.ndarray:
    """1, the mean score, each family's score of every group for every task, and which task it is,
    ``[G, T, K + 2 + T]``.

    What a family cannot estimate counts as 0, an average pair. NaN for tasks outside the group and
    for a group of one.
    """
    each = np.stack([company(np.nan_to_num(s), members) for s in scores.values()], axis=-1)
    mean = company(np.nan_to_num(_over_families(scores)), members)
    one = np.where(np.isfinite(mean), 1.0, np.nan)[..., None]
    return np.concatenate([one, mean[..., None], each, one * np.eye(members.shape[1])], axis=-1)


def estimable(graphs: Mapping[str, TaskGraph]) -> dict[str, TaskGraph]:
    """The graphs that have any value at all."""
    return {name: g for name, g in graphs.items() if np.isfinite(g.value).any()}
