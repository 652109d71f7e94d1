r"""Which tasks to train together: the best split into groups by any pairwise relatedness.

With :math:`a_{ij}` how much i helps j, a group is worth to its member j the mean over the others,
and a task alone is worth 0:

.. math:: V(\{G_1, \dots, G_k\}) = \frac1T \sum_g v(G_g), \qquad
          v(G) = \sum_{j \in G} \operatorname{mean}_{i \in G,\, i \ne j} a_{ij}

as in Standley et al. (`arXiv:1905.07553 <https://arxiv.org/abs/1905.07553>`_) and Fifty et al.
(`arXiv:2109.04617 <https://arxiv.org/abs/2109.04617>`_), whose groups may overlap; here each task
is trained once. That a group is worth the mean of its pairs is an assumption; only training tells.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from gnnfusion.errors import UsageError
from gnnfusion.relatedness.agreement import from_mean, known_mean
from gnnfusion.relatedness.estimators import HELPS
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.whole import finite, write_json

EXACT = 12
"""Up to so many tasks every split is weighed; beyond it, splits are improved step by step."""
RANDOM = 3  # further starts of the search
GAINED = 1e-12  # less is rounding

Split = tuple[tuple[int, ...], ...]
Worth = Callable[[Sequence[Sequence[int]]], np.ndarray]
"""What each of several groups is worth, summed over its members."""


@dataclass(frozen=True)
class Grouping:
    """Groups of tasks to be trained together, and what they are expected to be worth.

    Parameters
    ----------
    groups
        Names; every task is in one of them.
    method, question
        Of the relatedness they come from.
    value
        Mean over tasks of the expected worth, in the unit of the relatedness; 0 is all alone.
    weights
        Suggested weight of each task's loss in one network for all: see `task_weights`.
    error
        Standard deviation of the value, where it is a fitted prediction; else NaN.
    """

    groups: tuple[tuple[str, ...], ...]
    method: str
    question: str
    value: float
    weights: Mapping[str, float] = field(default_factory=dict)
    error: float = float("nan")

    def to_json(self, path: str | Path) -> None:
        """Write it as ``gnnfusion train --groups`` reads it."""
        values: dict[str, Any] = {
            "groups": [list(g) for g in self.groups],
            "method": self.method,
            "question": self.question,
            "value": finite(self.value),
            "error": finite(self.error),
            "weights": dict(self.weights),
        }
        write_json(path, values)


def group_tasks(graph: TaskGraph, most: int) -> Grouping:
    """The best split of a task graph's tasks into at most so many groups.

    Parameters
    ----------
    graph
        Relatedness by any method, counted as in `affinity`.
    most
        Groups at most.

    Raises
    ------
    UsageError
        `most` is below one, or no pair has a value.
    """
    if not np.isfinite(graph.value).any():
        raise UsageError("no pair can be estimated, so there is nothing to split the tasks by")
    worth = affinity(graph)
    split = best_split(worth, most)
    return Grouping(
        groups=tuple(tuple(graph.tasks[t] for t in group) for group in split),
        method=graph.method,
        question=graph.question,
        value=split_value(worth, split),
        weights=dict(zip(graph.tasks, task_weights(worth).tolist(), strict=True)),
    )


def affinity(graph: TaskGraph) -> np.ndarray:
    r"""What the company of i is worth to j next to being alone, ``[T, T]``.

    The value less that of an unrelated pair. Where only the order means something, less the mean
    (`from_mean`): pairs above it are good company, the others are not.

    Of a method that tests, but not whether training helps, the values of unrelated pairs are not 0
    (an absolute correlation never is), and among many some are large by chance. There

    .. math:: a_{ij} = [ij \text{ is a finding}]\, (v_{ij} - v_0) - c

    with c the mean of :math:`|v - v_0|` over the pairs that are no findings: company that is not
    shown to be related costs what chance looks like, and so is worse than none.
    """
    if graph.ranks_only:
        return from_mean(graph.value)
    apart = graph.value - graph.null
    tested = np.isfinite(graph.p_adjusted)
    if graph.question == HELPS or not tested.any():
        return apart
    chance = known_mean(np.abs(apart[tested & ~graph.significant]))
    return np.where(tested, np.where(graph.significant, apart, 0) - np.nan_to_num(chance), np.nan)


def best_split(
    affinity: np.ndarray, most: int, *, worth: Worth | None = None, seed: int = 0
) -> Split:
    """The split of T tasks into at most `most` groups that is worth most.

    Exact up to 12 tasks (dynamic programming over subsets). Beyond that, starts by spectral
    clustering of the symmetric part, one for each number of groups, and some at random are improved
    by moving and exchanging single tasks until nothing is gained; the best is returned.

    Parameters
    ----------
    affinity
        ``[T, T]``, i to j; NaN is not known, and is left out of a mean (0 if that is all of it).
    most
        Groups at most; singletons are allowed.
    worth
        What groups are worth, each summed over its members; by default `group_value` of the
        affinity, which then serves the clustering alone.
    seed
        Of the clustering and the random starts.

    Returns
    -------
    tuple
        Groups of places, sorted. Of splits worth the same, one with fewer groups, which cost less.

    Raises
    ------
    UsageError
        `most` is below one, or the affinity is no square matrix.
    """
    affinity = np.array(affinity, dtype=float)
    if affinity.ndim != 2 or affinity.shape[0] != affinity.shape[1] or not len(affinity):
        raise UsageError(f"an affinity must be [T, T], not {list(affinity.shape)}")
    if most < 1:
        raise UsageError(f"the number of groups must be at least 1, not {most}")
    np.fill_diagonal(affinity, np.nan)
    most = min(most, len(affinity))
    worth = worth or partial(_group_values, affinity)
    if len(affinity) <= EXACT:
        return _as_groups(_exact(worth, len(affinity), most))
    return _as_groups(_searched(worth, affinity, most, seed))


def split_value(affinity: np.ndarray, split: Sequence[Sequence[int]]) -> float:
    """Worth of a split: mean over tasks of the mean affinity of the others of their group."""
    return sum(group_value(affinity, group) for group in split) / len(affinity)


def oracle_share(predicted: np.ndarray, truth: np.ndarray, most: int) -> float:
    """Worth of the groups chosen by prediction, as a share of the best groups'; both by the truth.

    Parameters
    ----------
    predicted, truth
        ``[T, T]``; a pair that the truth has not measured counts for nothing.
    most
        Groups at most.

    Returns
    -------
    float
        1 at best, negative where the groups harm; NaN if no grouping is worth more than none.
    """
    oracle = split_value(truth, best_split(truth, most))
    if oracle <= 0:
        return float("nan")
    return split_value(truth, best_split(predicted, most)) / oracle


def group_value(affinity: np.ndarray, group: Sequence[int]) -> float:
    """Sum over members of the mean of what the others are worth to them; 0 of a singleton."""
    part = np.array(affinity, dtype=float)[np.ix_(group, group)]
    np.fill_diagonal(part, np.nan)
    there = np.isfinite(part)
    return float((np.where(there, part, 0).sum(0) / np.maximum(there.sum(0), 1)).sum())


def _group_values(affinity: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    return np.array([group_value(affinity, group) for group in groups])


def task_weights(affinity: np.ndarray) -> np.ndarray:
    r"""Suggested static weights ``[T]`` of the losses of one network for all tasks, of mean 1.

    Who helps the others counts more, who harms them less:

    .. math:: w_i \propto 1 + \frac12 \frac{h_i}{\max_k |h_k|}, \qquad
              h_i = \operatorname{mean}_{j \ne i} a_{ij}

    so that before they are brought to a mean of 1 they lie between 1/2 and 3/2, whatever the unit.
    A starting point that costs nothing, not a measured optimum; compare it with equal weights.
    """
    affinity = np.array(affinity, dtype=float)
    np.fill_diagonal(affinity, np.nan)
    there = np.isfinite(affinity)
    helps = np.where(there, affinity, 0).sum(1) / np.maximum(there.sum(1), 1)
    largest = np.abs(helps).max(initial=0.0)
    weights: np.ndarray = 1 + (0.5 * helps / largest if largest > 0 else 0 * helps)
    return weights / weights.mean()


# -- search -----------------------------------------------------------------------------------


def _exact(worth: Worth, count: int, most: int) -> np.ndarray:
    r"""Labels ``[T]``, by dynamic programming over the sets M of tasks, as bits of a number:

    .. math:: f_k(M) = \max(f_{k-1}(M), \max_{\min M \in G \subset M} v(G) + f_{k-1}(M - G))
    """
    members = [[t for t in range(count) if mask >> t & 1] for mask in range(1 << count)]
    value = worth(members)
    parts = [np.array(_parts(mask)) for mask in range(1 << count)]
    best, choices = value, list[np.ndarray]()
    for _ in range(1, most):
        better, choice = best.copy(), np.zeros(1 << count, dtype=int)
        for mask in range(1, 1 << count):
            totals = value[parts[mask]] + best[mask ^ parts[mask]]
            at = int(totals.argmax())
            if totals[at] > best[mask] + GAINED:
                better[mask], choice[mask] = totals[at], parts[mask][at]
        choices.append(choice)
        best = better
    labels, left = np.zeros(count, dtype=int), (1 << count) - 1
    for number, choice in enumerate(reversed(choices), 1):
        group = int(choice[left])
        labels[members[group]] = number
        left ^= group
    return labels


def _parts(mask: int) -> list[int]:
    """Subsets with the lowest bit of a set of bits."""
    lowest = mask & -mask
    rest = part = mask ^ lowest
    found = [mask]
    while part:
        part = (part - 1) & rest
        found.append(part | lowest)
    return found


def _searched(worth: Worth, affinity: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Labels ``[T]``: the best of several starts, each improved as far as single steps go."""
    found, best = np.zeros(len(affinity), dtype=int), -np.inf
    rng = np.random.default_rng(seed)
    starts = [_clustered(affinity, count, seed) for count in range(1, most + 1)]
    starts += [rng.integers(0, most, len(affinity)) for _ in range(RANDOM)]
    for start in starts:
        labels, value = _improved(worth, start, most)
        if value > best + GAINED:
            found, best = labels, value
    return found


def _clustered(affinity: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Labels ``[T]`` by spectral clustering of the affinity's symmetric part."""
    from sklearn.cluster import SpectralClustering

    if count in (1, len(affinity)):
        return np.arange(len(affinity)) % count
    known = np.nan_to_num(affinity)
    both = (known + known.T) / 2
    both -= both.min()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the graph falls apart is what is looked for
        labels: np.ndarray = SpectralClustering(
            count, affinity="precomputed", random_state=seed
        ).fit_predict(both)
    return labels


def _improved(worth: Worth, labels: np.ndarray, most: int) -> tuple[np.ndarray, float]:
    """Labels and their worth after the best moves and exchanges of tasks, until none gains."""

    def totals(several: Sequence[np.ndarray]) -> np.ndarray:
        splits = [_as_groups(labels) for labels in several]
        groups = list({group for split in splits for group in split})
        value = dict(zip(groups, worth(groups), strict=True))
        return np.array([sum(value[group] for group in split) for split in splits])

    value = float(totals([labels])[0])
    while True:
        steps = list(_steps(labels, most))
        values = totals(steps)
        at = int(np.argmax(values))
        if values[at] <= value + GAINED:
            return labels, value
        labels, value = steps[at], float(values[at])


def _steps(labels: np.ndarray, most: int) -> Iterator[np.ndarray]:
    for task in range(len(labels)):
        for group in range(most):
            step = labels.copy()
            step[task] = group
            yield step
    for a, b in combinations(range(len(labels)), 2):
        if labels[a] != labels[b]:
            step = labels.copy()
            step[[a, b]] = step[[b, a]]
            yield step


def _as_groups(labels: np.ndarray) -> Split:
    groups = (tuple(np.flatnonzero(labels == k).tolist()) for k in np.unique(labels))
    return tuple(sorted(groups))
