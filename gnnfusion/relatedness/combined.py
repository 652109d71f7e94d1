r"""One prediction of what training together does, from several estimators and a few measurements.

Every estimator's values become normal scores over all pairs of tasks (ranks mapped to quantiles of
the normal distribution), which forgets their units. Those of one family are variants of one idea
and are averaged; the mean over families is the combined score of a pair, and a group's score for
task j is the mean over its other members.

Measured gains of some groups then fit a Bayesian linear regression

.. math:: G_j(S) = a + b\, \bar s_j(S) + \sum_k w_k s_{kj}(S) + \varepsilon,
          \qquad w_k \sim N(0, \tau^2),\ \varepsilon \sim N(0, \sigma^2)

with flat priors on a and b, so that with few measurements all families weigh the same, and with
more those that predict well weigh more. :math:`\tau` and :math:`\sigma` maximize the marginal
likelihood on a grid (MacKay, 1992, doi:10.1162/neco.1992.4.3.415).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm, rankdata

from gnnfusion.errors import UsageError
from gnnfusion.relatedness.agreement import known_mean, predicted_gains
from gnnfusion.relatedness.estimators import ESTIMATORS, HELPS
from gnnfusion.relatedness.task_graph import TaskGraph

SINGLE_TRAINING: Sequence[str] = ("evidence", "residuals", "gradient", "look_ahead", "cka")
"""What `combined` is made of: one training's worth, and no label without it."""

FLAT = 1e3  # spread of the priors on a and b, in spreads of the gains
RATIOS = np.geomspace(1e-3, 3, 12)  # of tau to the spread of the gains
NOISES = np.geomspace(0.05, 1.5, 12)  # of sigma to the spread of the gains


def normal_scores(value: np.ndarray) -> np.ndarray:
    """Values of pairs ``[T, T]`` as normal scores over all that are estimable; NaN elsewhere."""
    known = np.isfinite(value) & ~np.eye(len(value), dtype=bool)
    out = np.full(value.shape, np.nan)
    ranks = rankdata(value[known])
    out[known] = norm.ppf((ranks - 0.5) / max(1, len(ranks)))
    return out


def family_scores(graphs: Mapping[str, TaskGraph]) -> dict[str, np.ndarray]:
    """Normal scores ``[T, T]`` by family: the mean over the methods of each that are given.

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
        found.setdefault(ESTIMATORS[name].family, []).append(normal_scores(graph.value))
    return {family: known_mean(np.stack(each)) for family, each in found.items()}


def combine(graphs: Mapping[str, TaskGraph]) -> TaskGraph:
    """The combined score of each pair, from graphs by method; no interval and no test.

    A family that cannot estimate a pair is left out of that pair's mean.
    """
    value = known_mean(np.stack(list(family_scores(graphs).values())))
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
        unit="mean normal score over families of estimators",
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
        Of the coefficients (a, b, w), ``[K + 2]`` and ``[K + 2, K + 2]``.
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

    def next_group(self, members: np.ndarray) -> int:
        """Which of the candidate groups ``[G, T]`` to measure next: the one known the least."""
        spread = self.predict(members)[1]
        return int(np.argmax(np.nansum(spread**2, axis=1)))


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
    best, chosen = -np.inf, (RATIOS[0], NOISES[-1])
    for ratio in RATIOS:
        prior = np.array([FLAT, FLAT, *[ratio] * len(scores)]) * scale
        for noise in NOISES:
            # y ~ N(0, X diag(prior^2) X' + noise^2 I)
            spread = (x * prior**2) @ x.T + (noise * scale) ** 2 * np.eye(len(y))
            _, size = np.linalg.slogdet(spread)
            fitness = -0.5 * (size + y @ np.linalg.solve(spread, y))
            if fitness > best:
                best, chosen = fitness, (ratio, noise)
    prior = np.array([FLAT, FLAT, *[chosen[0]] * len(scores)]) * scale
    sigma = chosen[1] * scale
    covariance = np.linalg.inv(x.T @ x / sigma**2 + np.diag(prior**-2.0))
    return Predictor(scores, covariance @ x.T @ y / sigma**2, covariance, sigma)


def _features(scores: Mapping[str, np.ndarray], members: np.ndarray) -> np.ndarray:
    """1, the mean score, and each family's score of every group for every task, ``[G, T, K + 2]``.

    What a family cannot estimate counts as 0, an average pair. NaN for tasks outside the group and
    for a group of one.
    """
    each = np.stack([predicted_gains(np.nan_to_num(s), members) for s in scores.values()], axis=-1)
    mean = predicted_gains(np.nan_to_num(known_mean(np.stack(list(scores.values())))), members)
    return np.concatenate([np.where(np.isfinite(mean), 1.0, np.nan)[..., None],
                           mean[..., None], each], axis=-1)  # fmt: skip


def estimable(graphs: Mapping[str, TaskGraph]) -> dict[str, TaskGraph]:
    """The graphs that have any value at all."""
    return {name: g for name, g in graphs.items() if np.isfinite(g.value).any()}
