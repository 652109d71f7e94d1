"""Groups from a few measured ones: their gains say how good company must be to be worth having."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gnnfusion.errors import UsageError
from gnnfusion.relatedness.combined import PREDICTORS, combine, fit_predictor
from gnnfusion.relatedness.estimate_all import estimate_all
from gnnfusion.relatedness.estimators import HELPS
from gnnfusion.relatedness.grouping import Grouping, affinity, task_weights
from gnnfusion.training.run import Run

if TYPE_CHECKING:
    from gnnfusion.training.compare.pool import Say


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
) -> Grouping:
    """Measure random groups, fit the combined prediction to them, and split by what it expects.

    No estimator of pairs tells where company is no better than none, for its zero is a guess;
    measured gains do. Gains are those on validation rows; on test rows where a run has none.

    Parameters
    ----------
    run
        A trained run or its folder.
    most
        Groups at most.
    subsets, seeds, jobs, say
        Of the trainings, as in `gnnfusion.relatedness.estimators.transfer.transfer_of`; what is
        finished there is not trained again.
    seed, device, progress
        As in `gnnfusion.relatedness.relate.relate`.

    Returns
    -------
    Grouping
        Its value is the expected gain, mean over tasks; 0.07 is a loss lower by 7 %.

    Raises
    ------
    UsageError
        There is no group to measure, or no estimator that fits the run; or as in `transfer_of`.
    """
    from gnnfusion.relatedness.estimators.transfer import transfer_of  # it imports Lightning

    run = run if isinstance(run, Run) else Run.load(run)
    if subsets < 1:
        raise UsageError(f"at least 1 group must be measured, not {subsets}")
    measured = transfer_of(run, subsets=subsets, seeds=seeds, jobs=jobs, device=device, say=say)
    graphs = estimate_all(
        run, run.store(), PREDICTORS, seed=seed, device=device, progress=progress
    ).graphs
    split = "valid" if "valid" in measured.alone else measured.held_out
    model = fit_predictor(graphs, measured.members, measured.gains(split))
    groups = model.split(most)
    tasks = measured.tasks
    return Grouping(
        groups=tuple(tuple(tasks[t] for t in group) for group in groups),
        method=f"combined, {subsets} groups measured",
        question=HELPS,
        value=sum(map(model.worth, groups)) / len(tasks),
        weights=dict(zip(tasks, task_weights(affinity(combine(graphs))).tolist(), strict=True)),
    )
