r"""Every estimator of relatedness against measured transfer, on one run.

The truth are gains :math:`G_j(S)` of groups S (`gnnfusion.relatedness.transfer`). An estimator with
values :math:`a_{ij}` predicts

.. math:: \hat G_j(S) = \frac{1}{n + K} \sum_{i \in S,\, i \ne j} (a_{ij} - \bar a)

over the n others in S (`agreement.company`; the mean is that of `agreement.from_mean`), and both
are compared within each target, over the groups that it is in: by rank correlation, by the pooled
correlation of standardized values (z-Pearson), and by what the best split by the estimator is
worth, as a share of the best one's.
Whether an estimator agrees at all is asked by permuting tasks (QAP), against the best of all
estimators in each order, for it is the best that is recommended. The truth is measured with error,
so beside each figure stands what a perfect prediction could be expected to reach: the root of the
truth's reliability over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnfusion.errors import UsageError
from gnnfusion.relatedness.agreement import (
    LEAST,
    company,
    from_mean,
    predicted_gains,
    qap_of_best,
    spearman,
    split_half,
    z_pearson,
)
from gnnfusion.relatedness.estimate_all import estimate_all
from gnnfusion.relatedness.estimators import METHODS
from gnnfusion.relatedness.grouping import affinity, oracle_share
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.relatedness.transfer import Transfer
from gnnfusion.training.run import Run
from gnnfusion.whole import finite, write_json

if TYPE_CHECKING:
    from gnnfusion.training.compare.pool import Say

FILE = "relatedness_validation.json"
FORMAT = 1
GROUPS = 3  # at most, of the split whose worth is compared
DRAWS = 2000  # orders of more tasks than are all tried
RELIABLE = 0.5  # less than half of what is measured is signal


@dataclass(frozen=True)
class Verdict:
    """How well one estimator predicts the measured gains; G groups, T tasks.

    Parameters
    ----------
    method
        Its name.
    predicted
        ``[G, T]``; NaN for tasks that are not of the group.
    spearman, z_pearson
        Agreement within targets.
    qap_p
        p-value of the z-Pearson under orders of the tasks that mean nothing, adjusted for the
        choice among all estimators that were compared (`agreement.qap_of_best`).
    grouping
        Worth of its best split into at most `GROUPS` groups, as a share of the best one's.
    seconds
        What it took, training included where it needs one of its own.
    """

    method: str
    predicted: np.ndarray
    spearman: float
    z_pearson: float
    qap_p: float
    grouping: float
    seconds: float


@dataclass(frozen=True)
class Validation:
    """All estimators of a run beside what was measured.

    Parameters
    ----------
    truth
        Measured gains.
    verdicts
        Of the estimators, best z-Pearson first.
    left_out
        Estimators that the run does not have, and why.
    same_rows
        Estimators had to read the rows that gains were measured on.
    """

    truth: Transfer
    verdicts: tuple[Verdict, ...]
    left_out: Mapping[str, str]
    same_rows: bool

    @cached_property
    def ceiling(self) -> dict[str, float]:
        """The agreement that a perfect prediction is expected to reach, by statistic.

        The root of the reliability over seeds: NaN with one seed, 0 where their halves disagree.
        """
        found = {"z_pearson": z_pearson, "spearman": spearman}
        reliability = {k: split_half(self.truth.per_seed(), f) for k, f in found.items()}
        return {k: float(np.sqrt(r if not r < 0 else 0.0)) for k, r in reliability.items()}

    @property
    def conclusion(self) -> str:
        """What a user may rely on, in one sentence."""
        reliability = self.truth.reliability()
        known = [v for v in self.verdicts if np.isfinite(v.z_pearson)]
        if not np.isfinite(reliability):
            return "how reliable the gains are cannot be told from these trainings; add --seeds"
        if reliability < RELIABLE:
            return (
                f"the gains are measured too unreliably ({max(0.0, reliability):.2f}) to hold any "
                "estimator to them; add --seeds, or groups larger than pairs by --subsets"
            )
        if not known:
            return "no estimator can be compared with the gains"
        best = known[0]
        if not best.qap_p <= 0.05:
            return (
                f"no estimator is shown to predict gains: the best of {len(known)}, {best.method}, "
                f"agrees by {best.z_pearson:.2f} (adjusted p = {best.qap_p:.2f}); measure with "
                "--method transfer"
            )
        return (
            f"{best.method} agrees best with the measured gains, by {best.z_pearson:.2f} of at "
            f"most {self.ceiling['z_pearson']:.2f} that can be expected (p = {best.qap_p:.3f}, "
            f"adjusted for the choice among {len(known)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; NaN becomes None."""
        entries = {
            v.method: {
                "family": METHODS[v.method].family, "question": METHODS[v.method].question,
                "spearman": v.spearman, "z_pearson": v.z_pearson, "qap_p": v.qap_p,
                "grouping": v.grouping, "seconds": v.seconds, "predicted": v.predicted.tolist(),
            } for v in self.verdicts
        }  # fmt: skip
        truth = self.truth
        plain: dict[str, Any] = finite({
            "format": FORMAT,
            "tasks": list(truth.tasks),
            "groups": [list(g) for g in truth.groups],
            "seeds": list(truth.seeds),
            "held_out": truth.held_out,
            "same_rows": self.same_rows,
            "gains": truth.gains().tolist(),
            "trainings": truth.trainings,
            "training_seconds": truth.seconds,
            "reliability": truth.reliability(),
            "ceiling": self.ceiling,
            "valid_agreement": truth.valid_agreement(),
            "estimators": entries,
            "left_out": dict(self.left_out),
            "conclusion": self.conclusion,
        })  # fmt: skip
        return plain

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict`."""
        write_json(path, self.to_dict())


def validate(
    run: Run | str | Path,
    *,
    methods: Sequence[str] | None = None,
    subsets: int = 0,
    seeds: int = 5,
    jobs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    say: Say | None = None,
) -> Validation:
    """Measure transfer by the run's settings, and hold every estimator to it.

    Estimators read the validation rows (some the training rows, too: `reads_training_rows`), gains
    are those on test rows; a run without validation rows of its own (a refit) has the test rows for
    both.

    Parameters
    ----------
    run
        A trained run or its folder.
    methods
        Names; by default all that `relate` takes but ``transfer``.
    subsets, seeds, jobs, say
        Of the trainings, as in `gnnfusion.relatedness.estimators.transfer.transfer_of`.
    seed, device, progress
        As in `gnnfusion.relatedness.relate.relate`.

    Raises
    ------
    UsageError
        No task would be in three groups, so that nothing can be compared; or as in `transfer_of`.
    """
    from gnnfusion.relatedness.estimators.transfer import (  # it imports Lightning
        sample_groups,
        transfer_of,
    )

    run = run if isinstance(run, Run) else Run.load(run)
    store = run.store()
    tasks = store.schema.task_names
    groups = (
        sample_groups(tasks, subsets, seed=seed) if subsets > 0 else list(combinations(tasks, 2))
    )
    most = max((sum(t in g for g in groups) for t in tasks), default=0)
    if most < LEAST:
        raise UsageError(
            f"no task would be in {LEAST} groups, so nothing can be compared; it takes four tasks "
            "for pairs, or more --subsets"
        )
    truth = transfer_of(
        run, subsets=subsets, seeds=seeds, jobs=jobs, seed=seed, device=device, say=say
    )
    found = estimate_all(
        run, store, methods or [m for m in METHODS if m != "transfer"],
        seed=seed, device=device, progress=progress,
    )  # fmt: skip
    same = found.split == truth.held_out
    return judge(truth, found.graphs, found.seconds, found.left_out, same_rows=same)


def judge(
    truth: Transfer,
    graphs: Mapping[str, TaskGraph],
    seconds: Mapping[str, float],
    left_out: Mapping[str, str],
    *,
    same_rows: bool = False,
) -> Validation:
    """Hold task graphs by method to measured gains; what each took is told along."""
    gains, pairs, members = truth.gains(), truth.pairs(), truth.members

    def agreement(value: np.ndarray, gains: np.ndarray) -> np.ndarray:
        return z_pearson(company(value, members), gains)

    values = [from_mean(graph.value) for graph in graphs.values()]
    p_values = qap_of_best(values, gains, agreement, draws=DRAWS)
    verdicts = []
    for (method, graph), p_value in zip(graphs.items(), p_values, strict=True):
        predicted = predicted_gains(graph.value, members)
        verdicts.append(Verdict(
            method=method,
            predicted=predicted,
            spearman=float(spearman(predicted, gains)),
            z_pearson=float(z_pearson(predicted, gains)),
            qap_p=float(p_value),
            grouping=oracle_share(affinity(graph), pairs, GROUPS),
            seconds=seconds[method],
        ))  # fmt: skip
    ranked = sorted(verdicts, key=lambda v: -np.nan_to_num(v.z_pearson, nan=-2.0))
    return Validation(truth, tuple(ranked), dict(left_out), same_rows)
