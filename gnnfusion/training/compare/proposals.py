"""Weight vectors to try: a grid, random draws, or what Optuna makes of those before."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from gnnfusion.errors import MissingExtraError, UsageError
from gnnfusion.training.compare.config import WeightSearch

LEVELS, REACH = (0.25, 1.0, 4.0), 8.0
BATCH = 4  # what Optuna proposes at once, however many processes: so its proposals can be repeated

Weights = dict[str, float]
Score = Callable[[list[Weights]], list[float | None]]
"""A score for each vector, less is better: infinite where it failed, None if time was up before."""


def scaled(weights: Mapping[str, float]) -> Weights:
    """The same ratios with mean one, to four digits: nothing but ratios matters in training."""
    mean = sum(weights.values()) / len(weights)
    return {task: float(f"{weight / mean:.4g}") for task, weight in weights.items()}


def grid(tasks: Sequence[str]) -> list[Weights]:
    r"""All that differ in ratio if each task counts a quarter, once or four times;
    :math:`3^T - 2^T` for T tasks."""
    found = [scaled(dict(zip(tasks, w, strict=True))) for w in product(LEVELS, repeat=len(tasks))]
    return _distinct(found)


def draws(tasks: Sequence[str], count: int, seed: int) -> list[Weights]:
    r"""Random vectors: :math:`\log w_t` evenly within :math:`\pm \log 8`, then scaled.

    More of them go on from fewer.
    """
    reach, rng = np.log(REACH), np.random.default_rng(seed)
    logs = rng.uniform(-reach, reach, (count, len(tasks)))
    return [scaled(dict(zip(tasks, np.exp(row).tolist(), strict=True))) for row in logs]


def sampler_of(settings: WeightSearch, tasks: Sequence[str]) -> str:
    """What ``auto`` comes to, or the sampler asked for.

    Raises
    ------
    UsageError
        The grid is larger than the number of candidates.
    MissingExtraError
        Optuna is asked for and not installed.
    """
    size = 3 ** len(tasks) - 2 ** len(tasks) + 1
    there = importlib.util.find_spec("optuna") is not None
    if settings.sampler == "auto":
        return "grid" if size <= settings.candidates else "optuna" if there else "random"
    if settings.sampler == "grid" and size > settings.candidates:
        raise UsageError(
            f"the grid over {len(tasks)} tasks has {size} weight vectors, the schema's among them; "
            "allow so many (weights.candidates), or take another weights.sampler"
        )
    if settings.sampler == "optuna" and not there:
        raise MissingExtraError("weights.sampler optuna", "optuna", "search")
    return settings.sampler


def explore(
    own: Weights, sampler: str, candidates: int, score: Score, seed: int
) -> list[tuple[Weights, float | None]]:
    """Try vectors until there are enough, or time is up; with their scores, in the order tried.

    Parameters
    ----------
    own
        Tried first, before equal ones.
    sampler
        ``grid``, ``optuna`` or ``random``.
    candidates
        How many vectors at most.
    score
        Scores some at once.
    seed
        Of what is drawn.
    """
    first = _distinct([own, scaled(dict.fromkeys(own, 1.0))])
    if sampler == "optuna":
        return _explore_optuna(first, candidates, score, seed)
    tasks = list(own)
    more = grid(tasks) if sampler == "grid" else draws(tasks, candidates - len(first), seed)
    tried = _distinct([*first, *more])
    return list(zip(tried, score(tried), strict=True))


def _explore_optuna(
    first: list[Weights], candidates: int, score: Score, seed: int
) -> list[tuple[Weights, float | None]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    range_of: dict[str, Any] = {
        t: optuna.distributions.FloatDistribution(1 / REACH, REACH, log=True) for t in first[0]
    }
    found = list(zip(first, score(first), strict=True))
    # Told about those that lie within its range; the schema's own may not.
    for weights, value in found:
        if value is not None and np.isfinite(value) and _within(weights):
            study.add_trial(
                optuna.create_trial(params=weights, distributions=range_of, value=value)
            )
    while len(found) < candidates and found[-1][1] is not None:
        asked = [study.ask(range_of) for _ in range(min(BATCH, candidates - len(found)))]
        proposed = [scaled(trial.params) for trial in asked]
        scores = score(proposed)
        for trial, value in zip(asked, scores, strict=True):
            if value is None or not np.isfinite(value):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, value)
        found += zip(proposed, scores, strict=True)
    return found


def _within(weights: Weights) -> bool:
    return all(1 / REACH <= weight <= REACH for weight in weights.values())


def _distinct(vectors: Sequence[Weights]) -> list[Weights]:
    return list({tuple(weights.values()): weights for weights in vectors}.values())
