"""Guess a schema from a table's content, with the reason for each guess."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnfusion.cells import is_missing, label, number
from gnnfusion.errors import DataError, SchemaError
from gnnfusion.samples.dependence import find_derived
from gnnfusion.samples.media import KIND_OF_ENDING, try_open
from gnnfusion.samples.split import SPLIT_NAMES, split_rows
from gnnfusion.samples.table import folder_frame, read_frame
from gnnfusion.samples.targets import CLASS_KINDS, encode_targets
from gnnfusion.schema import Modality, Schema, Split, Task

if TYPE_CHECKING:
    import pandas as pd

_TRIED = 5  # media files that are opened per column
_LOOKED_AT = 1000  # rows whose content is looked at
_MAX_CLASSES = 30
_ID_NAMES = ("id", "uid", "uuid", "key", "sample", "sample_id", "name", "filename", "index")
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([ T]\d.*)?|\d{1,2}[/.-]\d{1,2}[/.-]\d{4}|\d{4}/\d+/\d+")


@dataclass(frozen=True)
class Guess:
    """What a column is taken for: a modality kind, ``id``, ``split``, a task kind, or
    ``ignored``."""

    column: str
    kind: str
    reason: str


def infer_schema(
    table: str | Path, tasks: Sequence[str] = (), id: str | None = None
) -> tuple[Schema, list[Guess]]:
    """Guess a schema.

    Columns of numbers, dates and categories together become one ``tabular`` modality named
    ``columns``; each column of text or of paths to media becomes a modality of its own.

    Parameters
    ----------
    table
        A CSV, Parquet or JSON lines file, or a folder of files named by id.
    tasks
        Label columns.
    id
        The id column; None to guess it.

    Returns
    -------
    schema, guesses
        The schema, its table relative to ``schema.base`` (the table's folder), and one guess per
        column in the order of the table.

    Raises
    ------
    SchemaError
        A column that is named is not there, or nothing is left that could be a modality.
    """
    path = Path(table)
    frame = folder_frame(path, id) if path.is_dir() else read_frame(path)
    media_folder = path if path.is_dir() else path.parent
    if not len(frame):
        raise DataError(f"the table {path.name!r} has no rows")
    columns = [str(c) for c in frame.columns]
    for name in [*tasks, *([id] if id else [])]:
        if name not in columns:
            raise SchemaError(f"the table has no column {name!r}; it has {', '.join(columns)}")
    guesses = {name: _guess_task(name, _cells(frame, name)) for name in tasks}
    id_guess = _guess_id(frame, [c for c in columns if c not in guesses], id, path.is_dir())
    if id_guess is not None:
        guesses[id_guess.column] = id_guess
    modalities: dict[str, dict[str, Any]] = {}
    for name in columns:
        if name not in guesses:
            guesses[name], entry = _guess_column(name, _cells(frame, name), media_folder)
            if guesses[name].kind == "split" and any(
                g.kind == "split" for n, g in guesses.items() if n != name
            ):
                guesses[name] = Guess(name, "ignored", "a second column of split names")
            modalities[name] = entry
    ordered = [guesses[name] for name in columns]
    schema = _schema(path, ordered, modalities, tuple(tasks), id_guess)
    schema, notes = _declare_derived(schema, frame)
    return schema, [
        replace(g, reason=f"{g.reason}; {notes[g.column]}") if g.column in notes else g
        for g in ordered
    ]


def _cells(frame: pd.DataFrame, name: str) -> list[Any]:
    return [None if is_missing(c) else c for c in frame[name].tolist()]


def _guess_id(
    frame: pd.DataFrame, columns: Sequence[str], chosen: str | None, folder: bool
) -> Guess | None:
    if chosen is not None:
        return Guess(chosen, "id", "named as the id column")
    for name in columns:
        plain = name.strip().lower()
        if plain not in _ID_NAMES and not plain.endswith("_id"):
            continue
        cells = _cells(frame, name)
        if None not in cells and len({str(c) for c in cells}) == len(cells):
            return Guess(name, "id", "every value differs" + (", files are named by it" * folder))
    return None


def _guess_task(name: str, cells: list[Any]) -> Guess:
    labels = {t for t in map(label, cells) if t is not None}
    empty = sum(c is None for c in cells)
    missing = f", {empty} of {len(cells)} unlabelled" if empty else ""
    if len(labels) == 2:
        return Guess(name, "binary", f"two labels ({', '.join(sorted(labels))}){missing}")
    numbers = _numbers(labels)
    few = len(labels) <= min(_MAX_CLASSES, max(2, len(cells) // 5))
    whole = numbers is not None and all(v == int(v) for v in numbers)
    if numbers is not None and not (whole and few):
        low, high = (f"{f(numbers):g}" for f in (min, max)) if numbers else ("", "")
        return Guess(
            name, "regression", f"{len(labels)} different numbers, {low} to {high}{missing}"
        )
    return Guess(name, "multiclass", f"{len(labels)} different labels{missing}")


def _numbers(texts: Iterable[Any]) -> list[float] | None:
    """The numbers in cells, None if one of them holds something else."""
    try:
        found = [number(t) for t in texts]
    except ValueError:
        return None
    return [v for v in found if v is not None and np.isfinite(v)]


def _guess_column(name: str, cells: list[Any], folder: Path) -> tuple[Guess, dict[str, Any]]:
    present = [c for c in cells if c is not None]
    distinct = {str(c) for c in present}
    if name.startswith("Unnamed:"):
        return Guess(name, "ignored", "a column without a name, mostly an old row number"), {}
    if len(distinct) < 2:
        what = "every cell is empty" if not present else "every row holds the same value"
        return Guess(name, "ignored", what), {}
    lowered = {t.strip().lower() for t in distinct}
    if lowered <= set(SPLIT_NAMES) and len(present) == len(cells) and "train" in lowered:
        return Guess(name, "split", f"holds {', '.join(sorted(lowered))}"), {}
    present = present[:_LOOKED_AT]
    if all(isinstance(c, str) for c in present):
        media = _guess_media(name, present, folder)
        if media is not None:
            return media
    if any(isinstance(c, list | np.ndarray) for c in present):
        return Guess(name, "array", "cells hold lists of numbers"), {"kind": "array"}
    if _numbers(present) is not None:
        return Guess(name, "tabular", "every value is a number"), {"tabular": "numeric"}
    if all(hasattr(c, "isoformat") or _DATE.fullmatch(str(c).strip()) for c in present):
        return Guess(name, "tabular", "dates, as days since 1970"), {"tabular": "dates"}
    return _guess_words(name, present, len(distinct))


def _guess_media(
    name: str, present: list[str], folder: Path
) -> tuple[Guess, dict[str, Any]] | None:
    tried = [present[i] for i in np.unique(np.linspace(0, len(present) - 1, _TRIED).astype(int))]
    kinds = [try_open(folder / t.strip()) if len(t) < 1000 else None for t in tried]
    opened = [k for k in kinds if k is not None]
    if opened:
        kind = max(sorted(set(opened)), key=opened.count)
        count = opened.count(kind)
        reason = f"{count} of {len(tried)} paths tried open as {_PLURAL[kind]}"
    else:
        endings = {Path(t.strip()).suffix.lower() for t in tried}
        found = {KIND_OF_ENDING[e] for e in endings if e in KIND_OF_ENDING}
        if len(found) != 1 or len(endings) != 1 or any(" " in t for t in tried):
            return None
        kind = found.pop()
        reason = f"names end in {endings.pop()}, but none of {len(tried)} tried is there"
    entry: dict[str, Any] = {"kind": kind}
    if kind == "text":
        entry["extractor"] = {"read_files": True}
    return Guess(name, kind, reason), entry


_PLURAL = {
    "image": "images", "video": "video (or folders of frames)", "audio": "sound",
    "series": "tables of numbers", "array": "arrays", "text": "text files",
}  # fmt: skip


def _guess_words(name: str, present: list[Any], distinct: int) -> tuple[Guess, dict[str, Any]]:
    texts = [str(c) for c in present]
    words = float(np.mean([len(t.split()) for t in texts]))
    length = float(np.mean([len(t) for t in texts]))
    repeated = distinct <= max(2, len(texts) // 5)
    if (words >= 3 or length >= 40) and not (repeated and distinct <= _MAX_CLASSES):
        reason = f"text of {words:.0f} words and {length:.0f} letters on average"
        return Guess(name, "text", reason), {"kind": "text"}
    if repeated or distinct <= min(_MAX_CLASSES, len(texts) // 2):
        reason = f"{distinct} categories"
        return Guess(name, "tabular", reason), {"tabular": "categorical"}
    return Guess(name, "ignored", f"{distinct} short values that hardly repeat, like names"), {}


def _schema(
    path: Path,
    guesses: Sequence[Guess],
    entries: dict[str, dict[str, Any]],
    tasks: tuple[str, ...],
    id_guess: Guess | None,
) -> Schema:
    kinds = {g.column: g.kind for g in guesses}
    task_names = _identifiers(tasks, taken=())
    media = [c for c, e in entries.items() if "kind" in e]
    taken = ["task", "columns", *task_names]
    modalities = [
        Modality(
            name=name,
            kind=entries[column]["kind"],
            columns=(column,),
            extractor=entries[column].get("extractor", {}),
        )
        for column, name in zip(media, _identifiers(media, taken), strict=True)
    ]
    tabular = {c: e["tabular"] for c, e in entries.items() if "tabular" in e}
    if tabular:
        listed = {
            part: [c for c, p in tabular.items() if p == part] for part in ("categorical", "dates")
        }
        modalities.append(
            Modality(
                name="columns" if "columns" not in task_names else "table_columns",
                kind="tabular",
                columns=tuple(tabular),
                extractor={part: names for part, names in listed.items() if names},
            )
        )
    if not modalities:
        raise SchemaError("no column of the table could be a modality; see the reasons per column")
    made = tuple(
        Task(name=name, kind=kinds[column], columns=(column,))
        for column, name in zip(tasks, task_names, strict=True)
    )
    split = next((c for c, k in kinds.items() if k == "split"), None)
    classes = next((t.name for t in made if t.kind in CLASS_KINDS), None)
    return Schema(
        table=path.name,
        id=None if id_guess is None else id_guess.column,
        modalities=tuple(modalities),
        tasks=made,
        split=Split(column=split) if split is not None else Split(stratify=classes),
        base=path.parent,
    )


def _identifiers(columns: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Column names as identifiers, all different."""
    names: list[str] = []
    for column in columns:
        name = re.sub(r"\W+", "_", column).strip("_") or "column"
        name = name if name.isidentifier() else f"_{name}"
        while name in names or name in taken:
            name += "_"
        names.append(name)
    return names


def _declare_derived(schema: Schema, frame: pd.DataFrame) -> tuple[Schema, dict[str, str]]:
    """Fill in ``derived_from`` where labels are an exact function of other labels."""
    ids = [str(i) for i in range(len(frame))]
    try:
        split = split_rows(schema, frame, ids)
        found = find_derived(encode_targets(schema, frame, ids, split), split)
    except DataError:  # the table is not fit to build yet; `build` will say why
        return schema, {}
    notes, sources = {}, {d.task: d.sources for d in found}
    for d in found:
        text = f"an exact function of {' and '.join(d.sources)} ({d.note})"
        notes[schema.task(d.task).columns[0]] = text
    tasks = [replace(t, derived_from=sources.get(t.name, ())) for t in schema.tasks]
    return schema.with_tasks(tasks), notes
