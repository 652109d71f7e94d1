"""Find labels that are an exact function of other labels.

Such tasks must not count as evidence for each other: that polarity follows from sentiment is
arithmetic, not a finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import lgamma, log

import numpy as np

from gnnfusion.samples.targets import Targets
from gnnfusion.schema import Schema

MIN_ROWS = 20
_LOG_CHANCE = log(1e-4)  # how unlikely a dependence must be to arise by chance
_SCREENED = 500  # rows that a dependence is first tried on
_MAX_PAIR_TASKS = 20  # pairs of sources are tried up to this many tasks
_TOLERANCE = 1e-4  # of the target's range; labels are often rounded in the table


@dataclass(frozen=True)
class Derived:
    """Task `task` can be computed from `sources`; `note` says how."""

    task: str
    sources: tuple[str, ...]
    note: str


def find_derived(targets: Mapping[str, Targets], split: np.ndarray) -> list[Derived]:
    """Tasks whose labels are an exact function of one or two others on training rows.

    A source with repeated values determines a task if equal values always go with equal labels,
    and if that is unlikely (below 1e-4 under shuffling) to be chance. A source whose values are
    all different determines anything that way, so for it only plain relations are tried: affine,
    absolute value, monotone, and thresholds. Where two tasks determine each other, the later one
    in the schema is named. Vector regressions are tried as targets alone.
    """
    names = list(targets)
    found: list[Derived] = []
    singles: set[tuple[str, str]] = set()
    for t, task in enumerate(names):
        for s, source in enumerate(names):
            if t == s or (task, source) in singles or (source, task) in singles:
                continue
            note = _relation(targets, [source], task, split)
            if note is None:
                continue
            if s > t and _relation(targets, [task], source, split) is not None:
                continue  # mutual: named when the later task is the target
            singles.add((task, source))
            found.append(Derived(task, (source,), note))
    if len(names) <= _MAX_PAIR_TASKS:
        single_of = {task: {s for x, s in singles if x == task} for task in names}
        mutual = singles | {(s, x) for x, s in singles}
        for task, pair in _pairs(names):
            if single_of[task] & set(pair) or any((task, s) in mutual for s in pair):
                continue
            if any(set(d.sources) | {d.task} == {task, *pair} for d in found):
                continue  # total = a + b is said once, not also as a = total - b
            note = _relation(targets, pair, task, split)
            if note is not None:
                found.append(Derived(task, tuple(pair), note))
    return found


def undeclared(schema: Schema, found: Sequence[Derived]) -> list[Derived]:
    """Those found whose tasks the schema does not know to be kin."""
    kin, names = schema.kin(), schema.task_names
    return [
        d for d in found if not all(kin[names.index(d.task)][names.index(s)] for s in d.sources)
    ]


def _pairs(names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    # Last task first: of total = a + b, the total is mostly listed last.
    for task in reversed(names):
        for pair in combinations([n for n in names if n != task], 2):
            yield task, list(pair)


def _relation(
    targets: Mapping[str, Targets], sources: Sequence[str], task: str, split: np.ndarray
) -> str | None:
    rows = (split == 0) & (targets[task].mask == 1)
    for source in sources:
        rows &= targets[source].mask == 1
    if rows.sum() < MIN_ROWS:
        return None
    chosen = np.flatnonzero(rows)
    if len(chosen) > 2 * _SCREENED:  # nearly all pairs fail on a few rows already
        few = chosen[np.linspace(0, len(chosen) - 1, _SCREENED).astype(int)]
        if _note(targets, sources, task, few) is None:
            return None
    return _note(targets, sources, task, chosen)


def _note(
    targets: Mapping[str, Targets], sources: Sequence[str], task: str, rows: np.ndarray
) -> str | None:
    columns = [_columns(targets[s], rows) for s in sources]
    notes: list[str] = []
    goal = _columns(targets[task], rows)
    varying = [c for c in goal.T if len(np.unique(c)) > 1]
    for column in varying:
        if len(columns) == 1:
            note = _one(columns[0], column)
        else:
            note = _two(columns[0], columns[1], column)
        if note is None:
            return None
        notes.append(note)
    return notes[0] if notes else None


def _columns(targets: Targets, rows: np.ndarray) -> np.ndarray:
    values = targets.values[rows].astype(np.float64)
    return values[:, None] if values.ndim == 1 else values


def _one(source: np.ndarray, goal: np.ndarray) -> str | None:
    codes = _codes(source)
    if _determines(codes, goal):
        same = source.shape[1] == 1 and np.array_equal(source[:, 0], goal)
        return "the same values" if same else "each of its values goes with one label"
    if source.shape[1] > 1:
        return None
    s = source[:, 0]
    if len(np.unique(s)) < MIN_ROWS // 2:
        return None
    for form, x in (("", s), ("the absolute value of ", np.abs(s))):
        if _is_linear([x], goal):
            return f"a linear function of {form}it"
        if len(np.unique(goal)) > len(goal) // 2 and _is_monotone(x, goal):
            return f"a monotone function of {form}it"
        if _is_stepped(x, goal):
            return f"thresholds of {form}it"
    return None


def _two(a: np.ndarray, b: np.ndarray, goal: np.ndarray) -> str | None:
    if _determines(_codes(np.concatenate([a, b], 1)), goal):
        return "each pair of their values goes with one label"
    if a.shape[1] == b.shape[1] == 1 and len(np.unique(goal)) > 2:
        both = [a[:, 0], b[:, 0]]
        if min(len(np.unique(c)) for c in both) > 2 and _is_linear(both, goal):
            return "a linear function of them"
    return None


def _codes(columns: np.ndarray) -> np.ndarray:
    return np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1)


def _log_arrangements(counts: np.ndarray) -> float:
    """Log of the number of ways to lay labels with these counts over the rows."""
    return lgamma(counts.sum() + 1) - sum(lgamma(c + 1) for c in counts)


def _determines(codes: np.ndarray, goal: np.ndarray) -> bool:
    """Whether equal codes always go with equal labels, beyond what chance would give.

    Of all arrangements of the labels over the rows, at most C^k (C labels, k codes) are constant
    within every code; their share bounds the probability of such a dependence by chance.
    """
    labels, goal_codes, counts = np.unique(goal, return_inverse=True, return_counts=True)
    k = int(codes.max()) + 1
    if len(np.unique(codes * len(labels) + goal_codes.reshape(-1))) != k:
        return False
    return k * log(len(labels)) - _log_arrangements(counts) < _LOG_CHANCE


def _is_linear(sources: Sequence[np.ndarray], goal: np.ndarray) -> bool:
    if len(np.unique(goal)) < 3:
        return False  # two labels are linear in any binary source; that is for the tests above
    design = np.stack([*sources, np.ones_like(goal)], 1)
    coefficients, *_ = np.linalg.lstsq(design, goal, rcond=None)
    worst = np.abs(design @ coefficients - goal).max()
    used = all(abs(c) * np.ptp(s) > _TOLERANCE * np.ptp(goal)
               for c, s in zip(coefficients[:-1], sources, strict=True))  # fmt: skip
    return bool(used and worst <= _TOLERANCE * np.ptp(goal))


def _is_monotone(source: np.ndarray, goal: np.ndarray) -> bool:
    # lexsort settles ties of the source, at which a function cannot take two values.
    order = np.lexsort((goal, source))
    steps, ties = np.diff(goal[order]), np.diff(source[order]) == 0
    if np.any(steps[ties] != 0):
        return False
    return bool((steps >= 0).all() or (steps[~ties] <= 0).all())


def _is_stepped(source: np.ndarray, goal: np.ndarray) -> bool:
    """Whether each label covers one interval of the source, beyond chance."""
    order = np.lexsort((goal, source))
    s, g = source[order], goal[order]
    change = g[1:] != g[:-1]
    if np.any(change & (s[1:] == s[:-1])):
        return False
    labels, counts = np.unique(g, return_counts=True)
    if change.sum() + 1 != len(labels):
        return False
    return lgamma(len(labels) + 1) - _log_arrangements(counts) < _LOG_CHANCE
