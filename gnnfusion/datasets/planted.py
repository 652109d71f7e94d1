"""Planted arrays: data whose task and modality relations are known exactly.

Row s has K independent standard normal factors z. Modality m shows some of them: its node v holds
``tanh(z[shown(m)] W_mv)`` plus noise, with a random map ``W_mv`` of its own. Task t is
``z . w_t / |w_t|`` plus noise, where ``w_t`` is random on the task's factors and 0 elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from gnnfusion.errors import UsageError

PATTERNS = ("rows", "random", "disjoint")


@dataclass(frozen=True, kw_only=True)
class PlantedSpec:
    """Parameters of the planted arrays; the defaults are the exam ``planted_v1``.

    Parameters
    ----------
    factors
        Number of latent factors K.
    tasks
        Factors of each task; none makes it pure noise.
    negations, copies
        Task -> the earlier task whose signal it negates or repeats, each with label noise of its
        own.
    modalities, nodes, features
        Number of modalities, of nodes of each, and of features of each node.
    shown
        Share of the factors that a modality shows (rounded to a number of factors).
    feature_noise, label_noise
        In standard deviations of the signal.
    train, valid, test
        Rows of each split.
    label_missing, label_pattern
        Share of the train and valid labels that are missing: ``rows`` (the same rows miss all
        labels), ``random`` (each label for itself) or ``disjoint`` (each row is labelled for one
        task only, whatever the share). Test labels are all there.
    modality_missing, modality_pattern
        Likewise in all rows: ``rows`` (the same rows keep only one modality), ``random`` (each
        for itself) or ``disjoint`` (each row has one modality). No row loses all.
    hard
        Make the first two tasks of each set of tasks on the same factors orthogonal: they are
        related, and yet their labels do not correlate.
    """

    factors: int = 6
    tasks: tuple[tuple[int, ...], ...] = (
        (0, 1), (0, 1), (0, 1), (2, 3), (2, 3), (2, 3), (4,), (0, 1), (2, 3), (),
    )  # fmt: skip
    negations: Mapping[int, int] = field(default_factory=lambda: {7: 0})
    copies: Mapping[int, int] = field(default_factory=lambda: {8: 3})
    modalities: int = 3
    nodes: int = 6
    features: int = 12
    shown: float = 0.7
    feature_noise: float = 2.0
    label_noise: float = 0.5
    train: int = 300
    valid: int = 0
    test: int = 300
    label_missing: float = 0.0
    label_pattern: str = "random"
    modality_missing: float = 0.0
    modality_pattern: str = "random"
    hard: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(tuple(t) for t in self.tasks))
        if any(not 0 <= f < self.factors for t in self.tasks for f in t):
            raise UsageError(f"a planted task uses a factor outside 0 .. {self.factors - 1}")
        for task, source in [*self.negations.items(), *self.copies.items()]:
            if not 0 <= source < task < len(self.tasks):
                raise UsageError(f"planted task {task} must repeat or negate an earlier task")
            if set(self.tasks[source]) != set(self.tasks[task]):
                raise UsageError(f"planted tasks {source} and {task} must use the same factors")
        for what in ("label_pattern", "modality_pattern"):
            if getattr(self, what) not in PATTERNS:
                raise UsageError(f"{what} must be one of {', '.join(PATTERNS)}")
        if not (0 <= self.label_missing < 1 and 0 <= self.modality_missing < 1):
            raise UsageError("shares of missing labels or modalities must be in [0, 1)")
        if not 0 < self.shown <= 1 or min(self.feature_noise, self.label_noise) < 0:
            raise UsageError("`shown` must be in (0, 1], and noise must not be negative")
        if min(self.modalities, self.nodes, self.features, self.factors, self.train) < 1:
            raise UsageError("planted sizes must be at least 1")


PRESETS: dict[str, PlantedSpec] = {"planted_v1": PlantedSpec()}


@dataclass(frozen=True)
class PlantedArrays:
    """Planted data and its truth; S rows, T tasks, M modalities, K factors.

    Parameters
    ----------
    x
        Modality -> float32 ``[S, nodes, features]``; 0 where absent.
    present
        Modality -> bool ``[S]``.
    y
        Task -> float32 ``[S]``; 0 where unlabelled.
    mask
        Task -> bool ``[S]``; whether the label is known.
    split
        uint8 ``[S]``: 0 train, 1 valid, 2 test.
    truth
        ``related`` bool ``[T, T]`` (tasks share a factor; diagonal false), ``modality_task`` bool
        ``[M, T]`` (the modality shows a factor of the task), ``loadings`` ``[T, K]``, ``shown``
        bool ``[M, K]``, ``factors`` ``[S, K]``, ``signal`` (task -> noiseless target ``[S]``),
        ``label_correlation`` ``[T, T]`` (in expectation), and the names in ``duplicates``,
        ``negations``, ``hard_pairs`` (pairs) and ``noise_tasks``.
    """

    x: dict[str, np.ndarray]
    present: dict[str, np.ndarray]
    y: dict[str, np.ndarray]
    mask: dict[str, np.ndarray]
    split: np.ndarray
    truth: dict[str, Any]
    spec: PlantedSpec
    seed: int

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.y)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.x)

    def __len__(self) -> int:
        return len(self.split)


def planted_arrays(preset: str = "planted_v1", seed: int = 0, **overrides: Any) -> PlantedArrays:
    """Generate planted arrays; the same arguments give the same bytes.

    Parameters
    ----------
    preset
        A name in `PRESETS`.
    seed
        Factors, maps, loadings, noise and gaps each have a random stream of their own, so that
        changing one parameter leaves the rest as it was.
    overrides
        Fields of `PlantedSpec`.

    Raises
    ------
    UsageError
        An unknown preset or field, or a value out of range.
    """
    spec = planted_spec(preset, **overrides)
    rows = spec.train + spec.valid + spec.test
    z = _stream(seed, 0).standard_normal((rows, spec.factors))
    shown = _shown(spec, _stream(seed, 1))
    loadings = _loadings(spec, _stream(seed, 2))
    split = np.repeat(np.array([0, 1, 2], np.uint8), [spec.train, spec.valid, spec.test])

    present = _present(spec, rows, _stream(seed, 3))
    x = {}
    for m in range(spec.modalities):
        features = _features(spec, z[:, shown[m]], _stream(seed, 4, m))
        features[~present[:, m]] = 0
        x[f"m{m}"] = features

    # Test rows have all labels, so that whatever is trained can be scored.
    mask = label_mask(spec, rows, _stream(seed, 5)) | (split == 2)[:, None]
    signal = z @ loadings.T
    y = {}
    for t, factors in enumerate(spec.tasks):
        # A task without factors has the variance that the others have, all of it noise.
        scale = spec.label_noise if factors else np.sqrt(1 + spec.label_noise**2)
        label = signal[:, t] + scale * _stream(seed, 6, t).standard_normal(rows)
        y[f"t{t}"] = np.where(mask[:, t], label, 0).astype(np.float32)

    names = list(y)
    truth = _truth(spec, names, loadings, shown)
    truth["factors"] = z
    truth["signal"] = {name: signal[:, t].astype(np.float32) for t, name in enumerate(names)}
    return PlantedArrays(
        x=x,
        present={f"m{m}": present[:, m] for m in range(spec.modalities)},
        y=y,
        mask={name: mask[:, t] for t, name in enumerate(names)},
        split=split,
        truth=truth,
        spec=spec,
        seed=seed,
    )


def planted_spec(preset: str = "planted_v1", **overrides: Any) -> PlantedSpec:
    """A preset with some fields changed; other tasks drop negations and copies not given."""
    if preset not in PRESETS:
        raise UsageError(f"there is no planted preset {preset!r}; use {', '.join(PRESETS)}")
    known = [f.name for f in fields(PlantedSpec)]
    for name in overrides:
        if name not in known:
            raise UsageError(f"planted data have no parameter {name!r}; use {', '.join(known)}")
    if "tasks" in overrides:
        overrides = {"negations": {}, "copies": {}, **overrides}
    return replace(PRESETS[preset], **overrides)


def _stream(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))


def _shown(spec: PlantedSpec, rng: np.random.Generator) -> np.ndarray:
    count = max(1, round(spec.shown * spec.factors))
    shown = np.zeros((spec.modalities, spec.factors), dtype=bool)
    for m in range(spec.modalities):
        shown[m, rng.permutation(spec.factors)[:count]] = True
    return shown


def _loadings(spec: PlantedSpec, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors ``[T, K]``, so that a signal has variance 1; zero for a noise task."""
    loadings = np.zeros((len(spec.tasks), spec.factors))
    drawn = rng.standard_normal(loadings.shape)
    for t, factors in enumerate(spec.tasks):
        if factors:
            at = list(factors)
            loadings[t, at] = drawn[t, at] / np.linalg.norm(drawn[t, at])
    if spec.hard:
        for a, b in _hard_pairs(spec):
            rest = loadings[b] - (loadings[b] @ loadings[a]) * loadings[a]
            loadings[b] = rest / np.linalg.norm(rest)
    for task, source in spec.negations.items():
        loadings[task] = -loadings[source]
    for task, source in spec.copies.items():
        loadings[task] = loadings[source]
    return loadings


def _hard_pairs(spec: PlantedSpec) -> list[tuple[int, int]]:
    if not spec.hard:
        return []
    groups: dict[frozenset[int], list[int]] = {}
    for t, factors in enumerate(spec.tasks):
        if len(factors) > 1 and t not in spec.negations and t not in spec.copies:
            groups.setdefault(frozenset(factors), []).append(t)
    return [(group[0], group[1]) for group in groups.values() if len(group) > 1]


def _features(spec: PlantedSpec, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    maps = rng.standard_normal((z.shape[1], spec.nodes * spec.features)) / np.sqrt(z.shape[1])
    clean = np.tanh(z @ maps)
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    noisy = clean + spec.feature_noise * clean.std() * noise
    return noisy.astype(np.float32).reshape(len(z), spec.nodes, spec.features)


def _present(spec: PlantedSpec, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Which modalities a row has, bool ``[S, M]``; at least one."""
    kept = rng.integers(spec.modalities, size=rows)
    keeps = np.arange(spec.modalities) == kept[:, None]
    if spec.modality_pattern == "disjoint":
        return keeps
    if spec.modality_pattern == "rows":
        return (rng.random((rows, 1)) >= spec.modality_missing) | keeps
    present = rng.random((rows, spec.modalities)) >= spec.modality_missing
    present[~present.any(axis=1)] = keeps[~present.any(axis=1)]
    return present


def label_mask(spec: PlantedSpec, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Which labels of so many rows the pattern leaves known, bool ``[rows, T]``."""
    tasks = len(spec.tasks)
    if spec.label_pattern == "disjoint":
        # A shuffled deck, so that every task gets the same number of rows.
        known: np.ndarray = np.arange(tasks) == (rng.permutation(rows) % tasks)[:, None]
    elif spec.label_pattern == "rows":
        known = np.repeat(rng.random((rows, 1)) >= spec.label_missing, tasks, axis=1)
    else:
        known = rng.random((rows, tasks)) >= spec.label_missing
    return known


def _truth(
    spec: PlantedSpec, names: list[str], loadings: np.ndarray, shown: np.ndarray
) -> dict[str, Any]:
    uses = np.zeros(loadings.shape, dtype=bool)
    for t, factors in enumerate(spec.tasks):
        uses[t, list(factors)] = True
    related = (uses[:, None] & uses[None]).any(axis=2) & ~np.eye(len(names), dtype=bool)
    correlation = loadings @ loadings.T / (1 + spec.label_noise**2)
    np.fill_diagonal(correlation, 1.0)
    return {
        "related": related,
        "modality_task": (shown[:, None] & uses[None]).any(axis=2),
        "loadings": loadings,
        "shown": shown,
        "label_correlation": correlation,
        "duplicates": [(names[a], names[b]) for b, a in spec.copies.items()],
        "negations": [(names[a], names[b]) for b, a in spec.negations.items()],
        "hard_pairs": [(names[a], names[b]) for a, b in _hard_pairs(spec)],
        "noise_tasks": [names[t] for t, factors in enumerate(spec.tasks) if not factors],
    }
