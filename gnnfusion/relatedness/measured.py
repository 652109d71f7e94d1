"""Groups from a few measured ones: their gains say how good company must be to be worth having."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gnnfusion.errors import UsageError
from gnnfusion.relatedness.combined import PREDICTORS, Predictor, combine, fit_predictor
from gnnfusion.relatedness.estimate_all import estimate_all
from gnnfusion.relatedness.estimators import HELPS
from gnnfusion.relatedness.grouping import Grouping, affinity, task_weights
from gnnfusion.relatedness.transfer import Transfer
from gnnfusion.training.run import Run

if TYPE_CHECKING:
    from gnnfusion.training.compare.pool import Say

FIRST = 4  # groups at random before any is chosen: what is known of fewer is too little
CANDIDATES = 2000
Group = tuple[str, ...]


def group_by_measured(
    run: Run | str | Path,
    most: int,
    *,
    subsets: int = 10,
    seeds: int = 5,
    jobs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    say: Say | None = None,
) -> tuple[Grouping, Transfer]:
    """Measure some groups, fit the combined prediction to them, and split by what it expects.

    The first half of the groups, at least `FIRST`, is drawn at random; the others are those whose
    gains the fit to these knows the least (`Predictor.next_groups`). No estimator of pairs tells
    where company is no better than none, for its zero is a guess; measured gains do. Gains are
    those on validation rows; on test rows where a run has none.

    Parameters
    ----------
    run
        A trained run or its folder.
    most
        Groups at most.
    subsets
        Groups to measure.
    seeds, jobs, say
        Of the trainings, as in `gnnfusion.relatedness.estimators.transfer.transfer_of`; what is
        finished there is not trained again.
    seed, device, progress
        As in `gnnfusion.relatedness.relate.relate`.

    Returns
    -------
    tuple
        The grouping, whose value is the expected gain, mean over tasks (0.07 is a loss lower by
        7 %), with the standard deviation of that expectation; and what was measured.

    Raises
    ------
    UsageError
        There is no group to measure, or no estimator that fits the run; or as in `transfer_of`.
    """
    from gnnfusion.relatedness.estimators.transfer import (  # it imports Lightning
        sample_groups,
        transfer_of,
    )

    run = run if isinstance(run, Run) else Run.load(run)
    if subsets < 1:
        raise UsageError(f"at least 1 group must be measured, not {subsets}")
    store = run.store()
    tasks = store.schema.task_names
    groups = sample_groups(tasks, subsets, seed=seed)[: max(FIRST, (subsets + 1) // 2)]
    rest = subsets - len(groups)
    if say and rest:
        total = seeds * (len(tasks) + subsets)
        say(f"{len(groups)} groups at random, then {rest} of which least is known", 0, total)

    def measure() -> tuple[Transfer, Predictor]:
        found = transfer_of(run, groups=groups, seeds=seeds, jobs=jobs, device=device, say=say)
        split = "valid" if "valid" in found.alone else found.held_out
        return found, fit_predictor(graphs, found.members, found.gains(split))

    graphs = estimate_all(
        run, store, PREDICTORS, seed=seed, device=device, progress=progress
    ).graphs
    measured, model = measure()
    if rest:
        others = _candidates(tasks, groups)
        inside = np.array([[t in group for t in tasks] for group in others])
        groups += [others[at] for at in model.next_groups(inside, rest)]
        measured, model = measure()
    split = model.split(most)
    value, error = model.value(split)
    weights = task_weights(affinity(combine(graphs)))
    return Grouping(
        groups=tuple(tuple(tasks[t] for t in group) for group in split),
        method=f"combined, {subsets} groups measured",
        question=HELPS,
        value=value,
        weights=dict(zip(tasks, weights.tolist(), strict=True)),
        error=error,
    ), measured


def _candidates(tasks: Sequence[str], without: Sequence[Group]) -> list[Group]:
    """Groups that may be measured next: all, or so many at random as can be weighed at once."""
    from gnnfusion.relatedness.estimators.transfer import count_groups, sample_groups

    if count_groups(len(tasks)) > CANDIDATES:
        found = sample_groups(tasks, CANDIDATES, seed=1)
    else:
        found = [g for size in range(2, len(tasks) + 1) for g in combinations(tasks, size)]
    return [group for group in found if group not in without]
