"""The answer to "which tasks belong together": values with intervals, tests and their question."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnfusion.errors import RunError, UsageError
from gnnfusion.relatedness.estimators import METHODS
from gnnfusion.relatedness.intervals import mean_interval
from gnnfusion.relatedness.questions import QUESTIONS
from gnnfusion.whole import finite, write_json, write_text

if TYPE_CHECKING:
    import networkx as nx

FORMAT = 2
GIVEN_MODEL, OVER_RETRAINING = "given the model", "over retraining"
"""Names of the two intervals: what other rows, and what other seeds, would say."""
OVER_STEPS = "over the training's steps"
"""Name of the first where it is of other steps of one training, not of other rows."""


@dataclass(frozen=True)
class Edge:
    """One ordered pair of tasks."""

    source: str
    target: str
    value: float
    low: float
    high: float
    retrained_low: float
    retrained_high: float
    p_value: float
    p_adjusted: float
    n: int
    significant: bool
    derived: bool


@dataclass(frozen=True, kw_only=True)
class TaskGraph:
    """Relatedness of tasks, with its uncertainty; T tasks, row i the source, column j the target.

    Parameters
    ----------
    tasks
        Names, in the order of rows and columns.
    method
        Name of the estimator.
    question
        One of `QUESTIONS`: what a value means.
    value
        ``[T, T]``, positive where i tells about, goes with or helps j; the diagonal is NaN, and
        so is a pair that could not be estimated.
    low, high
        Interval of each value at confidence `level`; NaN where the method has none.
    p_value
        Test of each value against the method's null; NaN where there is none.
    n
        Sample sizes.
    derived
        bool ``[T, T]``, symmetric: pairs of which one is computable from the other, or both from
        a third. They never count as findings and are left out of the adjustment.
    symmetric
        The method gives i, j and j, i the same value, so that the adjustment counts them once.
    one_sided
        A value at or below `null` is no finding, whatever its test says: in the adjustment its
        p-value counts as 1.
    null
        Value of a pair that is not related: 0, or 1 for attention relative to uniform. Figures
        are centred on it.
    unit
        What a value counts, in words.
    ranks_only
        Only the order of the values that one target receives means something, not their size.
    retrained
        Interval over retraining: values of the same data and other seeds, ``[seeds, T, T]``; see
        `over_retraining`. None where nothing was trained again.
    over
        What that interval is of: given the model (what other rows would say), or over the
        training's steps.
    level
        Confidence of the intervals.
    alpha
        Largest adjusted p-value that counts as a finding.
    control
        What the method was checked against, as plain values. ``interpretable: False`` makes
        figures and the report say "not interpretable".
    controls
        Further controls by name (`gnnfusion.relatedness.controls`): plain values, with a
        ``sentence`` that says what came out.
    notes
        Sentences that belong beside every figure.

    Raises
    ------
    UsageError
        Shapes or names that do not fit.
    """

    tasks: tuple[str, ...]
    method: str
    question: str
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray
    n: np.ndarray
    derived: np.ndarray | None = None
    symmetric: bool = False
    one_sided: bool = False
    null: float = 0.0
    unit: str = ""
    ranks_only: bool = False
    retrained: np.ndarray | None = None
    over: str = GIVEN_MODEL
    level: float = 0.95
    alpha: float = 0.05
    control: Mapping[str, Any] = field(default_factory=dict)
    controls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))
        object.__setattr__(self, "notes", tuple(self.notes))
        count = len(self.tasks)
        if len(set(self.tasks)) != count:
            raise UsageError("a task graph lists a task twice")
        if self.question not in QUESTIONS:
            raise UsageError(f"a task graph's question must be one of {'; '.join(QUESTIONS)}")
        for name in ("value", "low", "high", "p_value"):
            matrix = np.array(getattr(self, name), dtype=np.float64)
            if matrix.shape != (count, count):
                raise UsageError(f"`{name}` of a task graph must be [{count}, {count}]")
            np.fill_diagonal(matrix, np.nan)
            object.__setattr__(self, name, matrix)
        sizes = np.broadcast_to(np.asarray(self.n, dtype=np.int64), (count, count)).copy()
        object.__setattr__(self, "n", sizes)
        derived = np.zeros((count, count), bool) if self.derived is None else self.derived
        derived = np.array(derived, dtype=bool)
        if derived.shape != (count, count):
            raise UsageError(f"`derived` of a task graph must be [{count}, {count}]")
        derived |= derived.T
        np.fill_diagonal(derived, False)
        object.__setattr__(self, "derived", derived)
        if self.retrained is not None:
            values = np.array(self.retrained, dtype=np.float64)
            if values.ndim != 3 or values.shape[1:] != (count, count):
                raise UsageError(f"`retrained` of a task graph must be [seeds, {count}, {count}]")
            object.__setattr__(self, "retrained", values)
        object.__setattr__(self, "control", _plain(self.control))
        object.__setattr__(self, "controls", {k: _plain(v) for k, v in self.controls.items()})

    @property
    def p_adjusted(self) -> np.ndarray:
        r"""p-values ``[T, T]`` adjusted over all m tested pairs; derived pairs are NaN.

        After Benjamini and Yekutieli (2001), :math:`\tilde p_{(i)} = \min_{k \ge i} \min(1,
        \tfrac{m}{k} \sum_{l=1}^m \tfrac{1}{l} \, p_{(k)})`. Keeping what is at most `alpha` bounds
        the expected share of false findings by it however the tests depend on each other; those
        of one graph share rows and a network, so independence cannot be claimed.
        """
        from scipy.stats import false_discovery_control

        counted = self.p_value
        if self.one_sided:
            counted = np.where((self.value <= self.null) & np.isfinite(counted), 1.0, counted)
        out = np.full_like(counted, np.nan)
        tested = np.isfinite(counted) & ~self._derived
        if self.symmetric:
            # Where the two halves differ, the larger p-value counts.
            both = np.fmax(counted, counted.T)
            tested = np.triu(tested | tested.T)
            out[tested] = false_discovery_control(both[tested], method="by")
            return np.where(np.isfinite(out), out, out.T)
        out[tested] = false_discovery_control(counted[tested], method="by")
        return out

    @property
    def significant(self) -> np.ndarray:
        """bool ``[T, T]``: adjusted p-value at most `alpha`, and not a derived pair."""
        adjusted = self.p_adjusted
        return np.isfinite(adjusted) & (np.nan_to_num(adjusted, nan=1.0) <= self.alpha)

    @property
    def over_retraining(self) -> tuple[np.ndarray, np.ndarray]:
        """Interval over retraining, low and high ``[T, T]``; NaN with fewer than two seeds.

        Of the mean of `retrained` (`mean_interval`): where the mean over all trainings lies.
        """
        if self.retrained is None:
            nothing = np.full_like(self.value, np.nan)
            return nothing, nothing.copy()
        return mean_interval(self.retrained, self.level)

    @property
    def intervals(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The intervals that there are, low and high ``[T, T]``, by what they speak of."""
        found = {self.over: (self.low, self.high), OVER_RETRAINING: self.over_retraining}
        return {name: ends for name, ends in found.items() if np.isfinite(ends[0]).any()}

    @property
    def tested(self) -> bool:
        """Whether there is a test at all; without one there are no findings.

        It is the method's, so there is one also where no pair had the labels for it.
        """
        entry = METHODS.get(self.method)
        has = entry is not None and entry.tested and not self.ranks_only
        return has or bool(np.isfinite(self.p_value).any())

    @property
    def inestimable(self) -> np.ndarray:
        """bool ``[T, T]``: pairs of two tasks without a value that are not derived."""
        return np.isnan(self.value) & ~self._derived & ~np.eye(len(self.tasks), dtype=bool)

    @property
    def ranks(self) -> np.ndarray:
        """Place of each source among those of its target ``[T, T]``, 1 the largest; NaN if unknown.

        Sources of the same value share their mean place; derived pairs have none.
        """
        from scipy.stats import rankdata

        value = np.where(self._derived, np.nan, self.value)
        known = np.isfinite(value)
        # What is not known comes last, and so changes no place of the others.
        return np.where(known, rankdata(np.where(known, -value, np.inf), axis=0), np.nan)

    @property
    def interpretable(self) -> bool:
        """False where the control says that the values mean nothing."""
        return bool(self.control.get("interpretable", True))

    @property
    def _derived(self) -> np.ndarray:
        assert self.derived is not None
        return self.derived

    def edges(self, significant_only: bool = True) -> list[Edge]:
        """Ordered pairs with a value, largest first; both directions of a symmetric method.

        Parameters
        ----------
        significant_only
            Only findings: significant, not derived, and none if the control forbids it.
        """
        if significant_only and not self.interpretable:
            return []
        found = [e for e in self._edges() if e.significant or not significant_only]
        return sorted(found, key=lambda e: -e.value)

    def _edges(self) -> Iterator[Edge]:
        adjusted, significant = self.p_adjusted, self.significant
        again = self.over_retraining
        for i, source in enumerate(self.tasks):
            for j, target in enumerate(self.tasks):
                if np.isfinite(self.value[i, j]):
                    yield Edge(
                        source=source,
                        target=target,
                        value=float(self.value[i, j]),
                        low=float(self.low[i, j]),
                        high=float(self.high[i, j]),
                        retrained_low=float(again[0][i, j]),
                        retrained_high=float(again[1][i, j]),
                        p_value=float(self.p_value[i, j]),
                        p_adjusted=float(adjusted[i, j]),
                        n=int(self.n[i, j]),
                        significant=bool(significant[i, j]),
                        derived=bool(self._derived[i, j]),
                    )

    def to_networkx(self) -> nx.DiGraph:
        """All pairs with a value as edges, with value, interval, p-values, n and flags."""
        import networkx as nx

        graph = nx.DiGraph(
            method=self.method,
            question=self.question,
            level=self.level,
            alpha=self.alpha,
            interpretable=self.interpretable,
            notes=" ".join(self.notes),
        )
        graph.add_nodes_from(self.tasks)
        for e in self._edges():
            # GraphML and GEXF have no NaN that every reader takes: leave such attributes out.
            numbers = {
                k: getattr(e, k)
                for k in ("value", "low", "high", "retrained_low", "retrained_high",
                          "p_value", "p_adjusted")
            }  # fmt: skip
            graph.add_edge(
                e.source,
                e.target,
                **{k: v for k, v in numbers.items() if math.isfinite(v)},
                n=e.n,
                significant=e.significant,
                derived=e.derived,
            )
        return graph

    def to_graphml(self, path: str | Path) -> None:
        """Write GraphML."""
        import networkx as nx

        write_text(path, "\n".join(nx.generate_graphml(self.to_networkx())) + "\n")

    def to_gexf(self, path: str | Path) -> None:
        """Write GEXF, as Gephi reads it."""
        import networkx as nx

        graph = self.to_networkx()
        for _, _, attributes in graph.edges(data=True):
            # `value` is a reserved edge attribute in GEXF; `weight` is what Gephi draws.
            attributes["weight"] = attributes["value"]
            attributes["relatedness"] = attributes.pop("value")
        write_text(path, "\n".join(nx.generate_gexf(graph)) + "\n")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes null. Adjusted p-values are there for other readers."""
        return {
            "format": FORMAT,
            "tasks": list(self.tasks),
            "method": self.method,
            "question": self.question,
            "null": self.null,
            "over": self.over,
            "level": self.level,
            "alpha": self.alpha,
            "symmetric": self.symmetric,
            "one_sided": self.one_sided,
            "unit": self.unit,
            "ranks_only": self.ranks_only,
            "retrained": None if self.retrained is None else finite(self.retrained.tolist()),
            **{k: finite(getattr(self, k).tolist()) for k in ("value", "low", "high", "p_value")},
            "p_adjusted": finite(self.p_adjusted.tolist()),
            "n": self.n.tolist(),
            "significant": self.significant.tolist(),
            "derived": self._derived.tolist(),
            "control": dict(self.control),
            "controls": {k: dict(v) for k, v in self.controls.items()},
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TaskGraph:
        """Read the layout of `to_dict`."""
        try:
            if values["format"] != FORMAT:
                raise RunError("this task graph was written by another version of gnnfusion")
            count = len(values["tasks"])
            matrices = {
                k: np.array(values[k], dtype=np.float64).reshape(count, count)
                for k in ("value", "low", "high", "p_value")
            }
            return cls(
                tasks=tuple(values["tasks"]),
                method=values["method"],
                question=values["question"],
                n=np.array(values["n"], dtype=np.int64),
                derived=np.array(values["derived"], dtype=bool),
                symmetric=values["symmetric"],
                one_sided=values.get("one_sided", False),
                null=values["null"],
                unit=values["unit"],
                ranks_only=values["ranks_only"],
                retrained=(
                    None
                    if values["retrained"] is None
                    else np.array(values["retrained"], dtype=np.float64)
                ),
                over=values.get("over", GIVEN_MODEL),
                level=values["level"],
                alpha=values["alpha"],
                control=values["control"],
                controls=values.get("controls", {}),
                notes=tuple(values["notes"]),
                **matrices,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"the task graph is malformed ({error}); run relate again") from error

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict` as JSON."""
        write_json(path, self.to_dict())

    @classmethod
    def from_json(cls, path: str | Path) -> TaskGraph:
        """Read a file of `to_json`; `RunError` if it is missing or malformed."""
        path = Path(path)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RunError(f"there is no task graph {str(path)!r}; run relate first") from error
        except ValueError as error:
            raise RunError(f"{path} is not a task graph; run relate again") from error
        if not isinstance(values, Mapping):
            raise RunError(f"{path} is not a task graph; run relate again")
        return cls.from_dict(values)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """NumPy numbers as Python ones, and no NaN, as JSON needs it."""
    return {k: finite(v.item() if isinstance(v, np.generic) else v) for k, v in values.items()}
