"""Weights of the tasks' losses, chosen by cross-validation over train + valid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gnnfusion.errors import RunError, UsageError
from gnnfusion.nn.sharing import sharing_name
from gnnfusion.schema import Task
from gnnfusion.training.compare.config import WeightSearch
from gnnfusion.training.compare.plan import Candidate, Trial
from gnnfusion.training.compare.proposals import Weights, explore, sampler_of, scaled
from gnnfusion.training.compare.summary import LEVEL, Difference, paired_difference
from gnnfusion.training.config import TrainConfig

SUFFIX = "+searched_weights"

Train = Callable[[list[Trial]], dict[str, dict[str, Any]]]
"""Results by trial key, of those for which the time lasted."""


def weighable(
    methods: Sequence[Candidate], tasks: Sequence[Task], settings: WeightSearch
) -> Candidate:
    """The first method whose tasks share a network under static weights and without known labels.

    Raises
    ------
    UsageError
        There is none, fewer than two tasks have a weight, or as `sampler_of`.
    MissingExtraError
        As `sampler_of`.
    """
    weighed = [task.name for task in tasks if task.weight > 0]
    if len(weighed) < 2:
        raise UsageError("a search for weights needs two tasks whose weight is not zero")
    sampler_of(settings, weighed)
    for method in methods:
        alone = sharing_name(method.config.network) == "single"
        if method.config.balancing == "static" and not alone and not method.config.evidence:
            return method
    raise UsageError(
        "a search for weights needs a method with balancing static whose tasks share a network; "
        "add one"
    )


def search_weights(
    method: Candidate,
    config: TrainConfig,
    tasks: Sequence[Task],
    settings: WeightSearch,
    train: Train,
) -> dict[str, Any]:
    """Score weight vectors by cross-validation, and choose.

    The score of a vector is the mean over folds and tasks of the loss on the rows held out over
    that of the training mean. The weights are no part of it, nor the folds, the seed and the time,
    so that it is the same question to all. The rows held out also end the training, as validation
    rows do.

    Parameters
    ----------
    method, config
        What is trained, with which settings.
    tasks
        The schema's; one of weight zero keeps it.
    settings
        How many vectors and folds, and where vectors come from.
    train
        Trains trials.

    Returns
    -------
    dict
        ``weights`` chosen, by task with mean one, None if every training failed; ``score``, and
        ``own_score`` of the schema's weights; ``changed``: whether these are others; ``sampler``;
        ``folds``; ``candidates``, a list of ``weights``, ``score`` and ``folds`` (one number each);
        ``failed``: why the first that failed did.

    Raises
    ------
    RunError
        The budget ended before the schema's weights were scored.
    """
    own = scaled({task.name: task.weight for task in tasks if task.weight > 0})
    sampler = sampler_of(settings, list(own))
    by_fold: list[list[float]] = []
    reasons: list[str] = []

    def score(vectors: list[Weights]) -> list[float | None]:
        rows = [_trials(method, config, {} if w == own else w, settings.folds) for w in vectors]
        results = train([trial for row in rows for trial in row])
        found: list[float | None] = []
        for row in rows:
            outcome = [results[t.key] for t in row if t.key in results]
            reasons.extend(r["failed"] for r in outcome if "failed" in r)
            by_fold.append([r.get("score", np.inf) for r in outcome])
            found.append(float(np.mean(by_fold[-1])) if len(outcome) == len(row) else None)
        return found

    tried = explore(own, sampler, settings.candidates, score, config.seed)
    if tried[0][1] is None:
        raise RunError(
            f"the budget ended before the weights of {method.name} were cross-validated; give it "
            "more time and call compare again, which goes on from here"
        )
    whole = [(w, s, folds) for (w, s), folds in zip(tried, by_fold, strict=True) if s is not None]
    best = min(whole, key=lambda entry: entry[1])  # of equals the first, so the schema's own
    return {
        "method": method.name,
        "weights": best[0] if np.isfinite(best[1]) else None,
        "changed": bool(np.isfinite(best[1])) and best[0] != own,
        "score": best[1],
        "own_score": whole[0][1],
        "sampler": sampler,
        "folds": settings.folds,
        "candidates": [{"weights": w, "score": s, "folds": folds} for w, s, folds in whole],
        "failed": reasons[0] if reasons else None,
    }


def _trials(method: Candidate, config: TrainConfig, weights: Weights, folds: int) -> list[Trial]:
    return [
        Trial(candidate=method.name, config=config, final=False, weights=weights, fold=(k, folds))
        for k in range(folds)
    ]


def judge_weights(
    found: Mapping[str, Any], finals: Mapping[str, Sequence[Mapping[str, Any]]], verdict: str
) -> dict[str, Any]:
    """What the search came to on test: ``weight_search`` with the ``difference`` that the chosen
    weights make, ``low`` and ``high`` (None where there is nothing to compare), and ``verdict``,
    a sentence longer.

    Parameters
    ----------
    found
        Of `search_weights`.
    finals
        Per method its final trials, one a seed.
    verdict
        On the methods.
    """
    names = (found["method"] + SUFFIX, found["method"])
    gap: Difference | None = None
    if all(name in finals for name in names):
        ours, theirs = (np.array([r["sample_scores"] for r in finals[name]]) for name in names)
        gap = paired_difference(ours, theirs)
    named = dict(zip(("difference", "low", "high"), gap[:3] if gap else [None] * 3, strict=True))
    return {
        "weight_search": {**found, **named},
        "verdict": f"{verdict} {_sentence(found, gap)}",
    }


def _sentence(found: Mapping[str, Any], gap: Difference | None) -> str:
    tried = f"{len(found['candidates'])} weight vectors in {found['folds']} folds"
    if not found["changed"]:
        return f"Of {tried}, cross-validation finds none better than the schema's weights."
    said = ", ".join(f"{task} {weight:g}" for task, weight in found["weights"].items())
    text = f"Of {tried}, cross-validation prefers {said}"
    if gap is None:
        return f"{text}; there is no test score with and without them."
    what = "cannot be told apart from"
    if gap.p_value <= LEVEL:  # never of one seed, which says nothing of other trainings
        what = "do better than" if gap.value < 0 else "do worse than"
    gaps = f"difference {gap.value:+.3f}, {gap.low:+.3f} to {gap.high:+.3f}"
    return f"{text}, which on test {what} the schema's weights ({gaps})."
