r"""Transfer gains: what training with other tasks did to each task, as measured by training.

With :math:`L_j(S)` the held-out loss of task j after a training on the tasks S,

.. math:: G_j(S) = \frac{L_j(\{j\}) - L_j(S)}{L_j(\{j\})}

in each seed, where the loss alone below the line is the mean over seeds. 0.07 means: in the group S
the loss of j was 7 % lower than alone. This is the truth that estimators of relatedness are held
to, and it is itself measured with error: see `Transfer.reliability`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp

from gnnfusion.errors import RunError
from gnnfusion.relatedness.agreement import known_mean, spearman, split_half, z_pearson
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.whole import finite, write_json

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Held-out losses of tasks alone and in groups; S seeds, G groups, T tasks.

    Parameters
    ----------
    tasks
        Names, in the order of columns.
    groups
        Names of each group; two at least.
    seeds
        Of the trainings.
    alone
        Split -> losses ``[S, T]`` of every task, trained alone; NaN where not measured.
    together
        Split -> losses ``[S, G, T]``; NaN for tasks that are not of the group.
    derived
        bool ``[T, T]``: pairs of which one is computable from the other, or both from a third.
    seconds
        What all trainings took, added up.
    failed
        What was said where a training failed.
    """

    tasks: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    seeds: tuple[int, ...]
    alone: Mapping[str, np.ndarray]
    together: Mapping[str, np.ndarray]
    derived: np.ndarray
    seconds: float
    failed: tuple[str, ...] = ()

    @property
    def trainings(self) -> int:
        """How many trainings there were."""
        return len(self.seeds) * (len(self.tasks) + len(self.groups))

    @property
    def held_out(self) -> str:
        """Rows that gains are read off: test, or valid where test has no label."""
        return "test" if np.isfinite(self.alone["test"]).any() else "valid"

    @property
    def members(self) -> np.ndarray:
        """Which tasks are in which group, bool ``[G, T]``."""
        found = [[t in group for t in self.tasks] for group in self.groups]
        return np.array(found, dtype=bool).reshape(-1, len(self.tasks))

    def per_seed(self, split: str | None = None) -> np.ndarray:
        """Gains of every seed, ``[S, G, T]``; NaN for tasks that are not of the group."""
        split = split or self.held_out
        alone = self.alone[split]
        return (alone[:, None] - self.together[split]) / known_mean(alone)

    def gains(self, split: str | None = None) -> np.ndarray:
        """Mean gains over seeds, ``[G, T]``."""
        return known_mean(self.per_seed(split))

    def pairs_per_seed(self, split: str | None = None) -> np.ndarray:
        r"""What i does to j in every seed, ``[S, T, T]``.

        Of pairs, their gain. Of larger groups, the mean gain of j over the measured groups with
        both (Li et al., `arXiv:2303.14582 <https://arxiv.org/abs/2303.14582>`_), which mixes i with
        its companions the more, the fewer groups there are.
        """
        gains, members = self.per_seed(split), self.members.astype(float)
        there = np.isfinite(gains)
        total = np.einsum("gi,sgj->sij", members, np.where(there, gains, 0.0))
        count = np.einsum("gi,sgj->sij", members, there.astype(float))
        with np.errstate(invalid="ignore"):
            found = np.where(count > 0, total / count, np.nan)
        found[:, np.arange(len(self.tasks)), np.arange(len(self.tasks))] = np.nan
        return found

    def pairs(self, split: str | None = None) -> np.ndarray:
        """What i does to j, mean over seeds, ``[T, T]``."""
        return known_mean(self.pairs_per_seed(split))

    def reliability(self, split: str | None = None) -> float:
        """Of the gains within targets, by halves of the seeds: see `agreement.split_half`.

        The root of it is the best agreement that any prediction can be expected to reach.
        """
        return split_half(self.per_seed(split))

    def valid_agreement(self) -> dict[str, float]:
        """How well validation gains tell test gains, within targets; NaN without either."""
        if "valid" not in self.alone or self.held_out != "test":
            return {"z_pearson": float("nan"), "spearman": float("nan")}
        a, b = self.gains("valid"), self.gains("test")
        return {"z_pearson": float(z_pearson(a, b)), "spearman": float(spearman(a, b))}

    def graph(self, split: str | None = None) -> TaskGraph:
        """Gains of pairs as a task graph.

        Its only interval is the one over retraining: where the mean gain over all trainings on
        these rows lies. The p-value is of a two-sided t-test of the seeds' gains against 0; NaN
        with one seed. Other rows may say otherwise: neither speaks of them.

        Of groups larger than pairs there is no p-value, and only the order within a target counts:
        a mean gain of j over groups with i is also that of j in any company, so that it differs
        from 0 says nothing about i.
        """
        values = self.pairs_per_seed(split)
        p_value = nothing = np.full(values.shape[1:], np.nan)
        of_pairs = all(len(group) == 2 for group in self.groups)
        if of_pairs:
            with warnings.catch_warnings():
                # One seed has no spread, and a pair that was not measured no mean: NaN says so.
                warnings.simplefilter("ignore", RuntimeWarning)
                p_value = ttest_1samp(values, 0.0, axis=0).pvalue
        reliability = self.reliability(split)
        agreement = self.valid_agreement()
        notes = [
            f"gains on {split or self.held_out} rows after {self.trainings} trainings; intervals "
            f"{'and tests ' if of_pairs else ''}are over seeds",
            f"reliability over seeds {reliability:.2f}; validation gains agree with test gains by "
            f"{agreement['z_pearson']:.2f}",
        ]
        if not of_pairs:
            notes.append(
                "a value is j's mean gain over the groups with i, whose other members it holds, "
                "too; whether it is 0 is no question about i, so it is not tested"
            )
        elif len(self.seeds) == 1:
            notes.append("one seed has no spread, so nothing is tested; add --seeds")
        if (split or self.held_out) == "valid":
            notes.append("the rows that gains are measured on chose the epochs, too")
        if self.failed:
            notes.append(f"{len(self.failed)} trainings failed: {self.failed[0]}")
        return TaskGraph(
            tasks=self.tasks,
            method="transfer",
            question="training with i helps j",
            value=known_mean(values),
            low=nothing,
            high=nothing,
            p_value=p_value,
            n=np.isfinite(values).sum(0),
            derived=self.derived,
            retrained=values,
            unit="share of the loss alone",
            ranks_only=not of_pairs,
            notes=tuple(notes),
        )

    def to_json(self, path: str | Path) -> None:
        """Write all of it; NaN becomes null. Gains and reliability are there for other readers."""
        arrays = {
            name: {split: finite(losses.tolist()) for split, losses in getattr(self, name).items()}
            for name in ("alone", "together")
        }
        write_json(
            path,
            {
                "format": FORMAT,
                "tasks": list(self.tasks),
                "groups": [list(g) for g in self.groups],
                "seeds": list(self.seeds),
                **arrays,
                "derived": self.derived.tolist(),
                "seconds": self.seconds,
                "failed": list(self.failed),
                "held_out": self.held_out,
                "gains": finite(self.gains().tolist()),
                "reliability": finite(self.reliability()),
                "valid_agreement": {k: finite(v) for k, v in self.valid_agreement().items()},
            },
        )

    @classmethod
    def from_json(cls, path: str | Path) -> Transfer:
        """Read a file of `to_json`; `RunError` if it is missing or malformed."""
        try:
            values: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise RunError(f"{path} was written by another version of gnnfusion")
            sizes = (len(values["seeds"]), len(values["groups"]), len(values["tasks"]))
            return cls(
                tasks=tuple(values["tasks"]),
                groups=tuple(tuple(g) for g in values["groups"]),
                seeds=tuple(values["seeds"]),
                alone=_arrays(values["alone"], (sizes[0], sizes[2])),
                together=_arrays(values["together"], sizes),
                derived=np.array(values["derived"], dtype=bool),
                seconds=float(values["seconds"]),
                failed=tuple(values["failed"]),
            )
        except OSError as error:
            raise RunError(f"there are no transfer gains {str(path)!r}; measure them") from error
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path} holds no transfer gains; measure them again") from error


def _arrays(values: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {k: np.array(v, dtype=np.float64).reshape(shape) for k, v in values.items()}
