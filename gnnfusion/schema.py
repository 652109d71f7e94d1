"""What a sample is: its modalities, its tasks, how rows are split and which rows are context.

Nothing here reads data or imports torch; a schema is plain values that go to YAML and back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from gnnfusion.errors import SchemaError, UsageError

MODALITY_KINDS = ("text", "image", "video", "audio", "tabular", "series", "array")
TASK_KINDS = ("binary", "multiclass", "multilabel", "ordinal", "regression")
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class Modality:
    """One kind of evidence about a sample; its values become graph nodes.

    Parameters
    ----------
    name
        Node type in the graph; letters, digits and underscores, and not ``task``.
    kind
        One of ``text, image, video, audio, tabular, series, array``.
    columns
        Table columns that hold the value (text itself, a path relative to the table, or numbers).
        Empty for a row-aligned array, whose file is in ``extractor["file"]``.
    extractor
        Settings of the kind's feature extractor (``gnnfusion/features/<kind>.py``).
    encoder
        Settings of the trainable encoder (``gnnfusion/nn/encoders``); ``name`` picks it.
    """

    name: str
    kind: str
    columns: tuple[str, ...] = ()
    extractor: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", _names(self.columns))
        _check_name("modality", self.name)
        if self.name == "task":
            raise SchemaError("a modality cannot be named 'task': that is the task nodes' type")
        _check_choice(f"kind of modality {self.name!r}", self.kind, MODALITY_KINDS)
        if not self.columns and "file" not in self.extractor:
            raise SchemaError(f"modality {self.name!r} names no column; add `column:`")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One target to predict; every sample's graph has one node for it, labelled or not.

    Parameters
    ----------
    name
        Name of the task; letters, digits and underscores.
    kind
        One of ``binary, multiclass, multilabel, ordinal, regression``.
    columns
        Label columns: one, or several for ``multilabel`` and for vector ``regression``.
    classes
        Class labels in order (as strings); by default those seen in the training rows, sorted.
    weight
        Static weight of the task's loss.
    derived_from
        Tasks from which this one can be computed. Such labels are never shown as evidence for
        each other, and such pairs never count as related.
    metrics
        Named extra metrics, e.g. ``acc2_nonzero`` or ``mean_iou``.
    """

    name: str
    kind: str
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    weight: float = 1.0
    derived_from: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_name("task", self.name)
        _check_choice(f"kind of task {self.name!r}", self.kind, TASK_KINDS)
        object.__setattr__(self, "columns", _names(self.columns) or (self.name,))
        object.__setattr__(self, "derived_from", _names(self.derived_from))
        object.__setattr__(self, "metrics", _names(self.metrics))
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(str(c) for c in self.classes))
            if len(set(self.classes)) != len(self.classes):
                raise SchemaError(f"task {self.name!r} lists a class twice")
        if self.kind == "binary" and self.classes is not None and len(self.classes) != 2:
            raise SchemaError(f"binary task {self.name!r} must have two classes")
        if self.kind in ("binary", "multiclass", "ordinal") and len(self.columns) != 1:
            raise SchemaError(f"{self.kind} task {self.name!r} must have exactly one column")
        if not self.weight >= 0:
            raise SchemaError(f"task {self.name!r} has a negative weight")


@dataclass(frozen=True, kw_only=True)
class Split:
    """How rows are divided: by a column holding train/valid/test, or by seeded ratios.

    Parameters
    ----------
    column
        Column that names each row's split; all else here is then unused.
    ratios
        Share of the rows in each of ``train, valid, test``; they sum to 1.
    seed
        Of the shuffle.
    stratify
        Column whose values each split holds in the same shares.
    group
        Column whose values are never cut: no group is in two splits.
    """

    column: str | None = None
    ratios: Mapping[str, float] = field(
        default_factory=lambda: {"train": 0.7, "valid": 0.15, "test": 0.15}
    )
    seed: int = 0
    stratify: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        unknown = set(self.ratios) - set(SPLITS)
        if unknown:
            raise SchemaError(f"unknown split {sorted(unknown)[0]!r}; use {', '.join(SPLITS)}")
        if self.column is None and (
            any(r < 0 for r in self.ratios.values()) or abs(sum(self.ratios.values()) - 1) > 1e-6
        ):
            raise SchemaError("split ratios must be non-negative and sum to 1")


@dataclass(frozen=True, kw_only=True)
class Context:
    """Neighbouring rows of the same group (a video, a dialogue) whose nodes join the sample.

    Parameters
    ----------
    group
        Column that names the group.
    order
        Column of numbers by which a group's rows are ordered.
    before, after
        How many rows before and after a sample join it.
    modalities
        Which modalities neighbours bring; empty: all.
    """

    group: str
    order: str
    before: int = 1
    after: int = 1
    modalities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.before < 0 or self.after < 0:
            raise SchemaError("context `before` and `after` must not be negative")
        object.__setattr__(self, "modalities", tuple(self.modalities))


@dataclass(frozen=True, kw_only=True)
class Schema:
    """A table of multimodal samples and what is to be predicted from them.

    Parameters
    ----------
    table
        Path of the table (CSV, Parquet or JSON lines), or of a folder of files named by id;
        relative to `base`.
    id
        Column that names each row uniquely; ``None`` numbers the rows.
    modalities, tasks
        What is known and what is asked.
    split, context
        See `Split` and `Context`.
    topology
        Wiring rules as plain mappings (see `gnnfusion.Topology`); ``None`` takes the defaults of
        the modalities' kinds.
    base
        Folder that `table` is relative to; where the YAML file lies. Not part of the YAML.
    """

    table: str = ""
    id: str | None = None
    modalities: tuple[Modality, ...] = ()
    tasks: tuple[Task, ...] = ()
    split: Split = field(default_factory=Split)
    context: Context | None = None
    topology: tuple[Mapping[str, Any], ...] | None = None
    base: Path = field(default=Path("."), compare=False)

    def __post_init__(self) -> None:
        names = [m.name for m in self.modalities] + [t.name for t in self.tasks]
        twice = {n for n in names if names.count(n) > 1}
        if twice:
            raise SchemaError(f"the name {sorted(twice)[0]!r} is used twice in the schema")
        if not self.modalities:
            raise SchemaError("the schema has no modality")
        tasks = {t.name for t in self.tasks}
        for task in self.tasks:
            for source in task.derived_from:
                if source not in tasks:
                    raise SchemaError(f"task {task.name!r} derives from unknown task {source!r}")
                if source == task.name:
                    raise SchemaError(f"task {task.name!r} derives from itself")
        for name in self.context.modalities if self.context else ():
            if name not in self.modality_names:
                raise SchemaError(f"context names the unknown modality {name!r}")

    @property
    def task_names(self) -> tuple[str, ...]:
        return tuple(t.name for t in self.tasks)

    @property
    def modality_names(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.modalities)

    def task(self, name: str) -> Task:
        """The task of that name; `SchemaError` if there is none."""
        return _find("task", name, self.tasks)

    def modality(self, name: str) -> Modality:
        """The modality of that name; `SchemaError` if there is none."""
        return _find("modality", name, self.modalities)

    def kin(self) -> list[list[bool]]:
        """Pairs of tasks that are computable from each other or share a source.

        ``kin()[i][j]`` is true where task i is task j, its source, derived from it, or both
        derive from a common task. Labels of kin are never evidence for each other.
        """
        roots = {t.name: self._sources(t.name) for t in self.tasks}
        return [[bool(roots[a] & roots[b]) for b in self.task_names] for a in self.task_names]

    def _sources(self, name: str) -> set[str]:
        found: set[str] = set()
        pending = [name]
        while pending:
            current = pending.pop()
            if current not in found:
                found.add(current)
                pending.extend(self.task(current).derived_from)
        return found

    def with_tasks(self, tasks: Sequence[Task]) -> Schema:
        """The same schema with other tasks."""
        return replace(self, tasks=tuple(tasks))

    # -- plain values and YAML --------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain values in the layout of the YAML file; defaults are left out."""
        out: dict[str, Any] = {"table": self.table}
        if self.id is not None:
            out["id"] = self.id
        out["modalities"] = {m.name: _modality_dict(m) for m in self.modalities}
        out["tasks"] = {t.name: _task_dict(t) for t in self.tasks}
        out["split"] = _split_dict(self.split)
        if self.context is not None:
            c = self.context
            out["context"] = {
                "group": c.group, "order": c.order, "before": c.before, "after": c.after,
                **({"modalities": list(c.modalities)} if c.modalities else {}),
            }  # fmt: skip
        if self.topology is not None:
            out["topology"] = [_plain(rule) for rule in self.topology]
        return out

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], base: Path | str = ".") -> Schema:
        """Read the layout of `to_dict`; `SchemaError` names what does not fit."""
        _check_keys(
            "schema", values, ("table", "id", "modalities", "tasks", "split", "context", "topology")
        )
        modalities = tuple(
            Modality(name=str(name), **_with_columns(f"modality {name!r}", entry))
            for name, entry in _mapping("modalities", values.get("modalities")).items()
        )
        tasks = tuple(
            Task(name=str(name), **_with_columns(f"task {name!r}", entry))
            for name, entry in _mapping("tasks", values.get("tasks")).items()
        )
        split = _make(Split, "split", values.get("split") or {})
        context = values.get("context")
        topology = values.get("topology")
        return cls(
            table=str(values.get("table", "")),
            id=values.get("id"),
            modalities=modalities,
            tasks=tasks,
            split=split,
            context=None if context is None else _make(Context, "context", context),
            topology=None if topology is None else tuple(topology),
            base=Path(base),
        )

    @classmethod
    def from_yaml(cls, path: str | Path) -> Schema:
        """Read a schema file; the table is looked for relative to it."""
        path = Path(path)
        if not path.is_file():
            raise SchemaError(f"there is no schema file {str(path)!r}")
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            where = getattr(error, "problem_mark", None)
            line = f" (line {where.line + 1})" if where else ""
            raise SchemaError(f"{path} is not valid YAML{line}") from error
        if not isinstance(values, Mapping):
            raise SchemaError(f"{path} does not hold a schema")
        return cls.from_dict(values, base=path.parent)

    def to_yaml(self, path: str | Path) -> None:
        """Write the schema file; reading it back gives an equal schema."""
        text = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)
        Path(path).write_text(text, encoding="utf-8")


def _find(what: str, name: str, items: Sequence[Any]) -> Any:
    for item in items:
        if item.name == name:
            return item
    known = ", ".join(i.name for i in items)
    raise SchemaError(f"there is no {what} {name!r}; the schema has {known}")


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _check_name(what: str, name: str) -> None:
    if not name.isidentifier():
        raise SchemaError(
            f"{what} name {name!r} must be letters, digits and underscores, not a digit first"
        )


def _check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise SchemaError(f"unknown {what}: {value!r}; use one of {', '.join(choices)}")


def _check_keys(what: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in values:
        if key not in known:
            raise SchemaError(f"{what} has an unknown entry {key!r}; use {', '.join(known)}")


def _mapping(what: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SchemaError(f"`{what}` must map names to entries")
    return value


def _with_columns(what: str, entry: Any) -> dict[str, Any]:
    """Accept `column: a` and `columns: [a, b]` alike."""
    values = dict(_mapping(what, entry))
    if "column" in values:
        if "columns" in values:
            raise SchemaError(f"{what} has both `column` and `columns`")
        values["columns"] = values.pop("column")
    known = (
        ("kind", "columns", "extractor", "encoder")
        if what.startswith("modality")
        else ("kind", "columns", "classes", "weight", "derived_from", "metrics")
    )
    _check_keys(what, values, known)
    if "kind" not in values:
        raise SchemaError(f"{what} has no kind")
    return values


def _make(cls: Any, what: str, values: Any) -> Any:
    values = _mapping(what, values)
    _check_keys(what, values, tuple(cls.__dataclass_fields__))
    try:
        return cls(**values)
    except TypeError as error:
        raise SchemaError(f"`{what}` is incomplete: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def check_task_names(names: Iterable[str], tasks: Sequence[str], what: str) -> None:
    """`UsageError` where `what` names a task that there is not."""
    for name in names:
        if name not in tasks:
            raise UsageError(f"{what} names {name!r}, which is no task; use {', '.join(tasks)}")


def _column_entry(columns: tuple[str, ...]) -> dict[str, Any]:
    return {"column": columns[0]} if len(columns) == 1 else {"columns": list(columns)}


def _modality_dict(m: Modality) -> dict[str, Any]:
    out: dict[str, Any] = {"kind": m.kind}
    if m.columns:
        out.update(_column_entry(m.columns))
    if m.extractor:
        out["extractor"] = _plain(m.extractor)
    if m.encoder:
        out["encoder"] = _plain(m.encoder)
    return out


def _task_dict(t: Task) -> dict[str, Any]:
    out: dict[str, Any] = {"kind": t.kind, **_column_entry(t.columns)}
    if t.classes is not None:
        out["classes"] = list(t.classes)
    if t.weight != 1.0:
        out["weight"] = t.weight
    if t.derived_from:
        out["derived_from"] = list(t.derived_from)
    if t.metrics:
        out["metrics"] = list(t.metrics)
    return out


def _split_dict(split: Split) -> dict[str, Any]:
    if split.column is not None:
        return {"column": split.column}
    out: dict[str, Any] = {"ratios": dict(split.ratios), "seed": split.seed}
    for key in ("stratify", "group"):
        if getattr(split, key) is not None:
            out[key] = getattr(split, key)
    return out
