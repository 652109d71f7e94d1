"""Read a table of samples: CSV, Parquet, JSON lines, a DataFrame, or a folder of files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnnfusion.cells import is_missing
from gnnfusion.errors import DataError, SchemaError
from gnnfusion.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

TABLE_NAMES = ("table.csv", "labels.csv", "samples.csv")
_READABLE = ".csv, .tsv, .parquet, .jsonl"


@dataclass(frozen=True)
class Samples:
    """Rows of a table.

    Parameters
    ----------
    frame
        One row per sample, index 0 .. S-1. Cells of a CSV are text; an empty cell is missing.
    ids
        Unique, non-empty row ids as text.
    folder
        Folder that relative paths in the cells start from.
    """

    frame: pd.DataFrame
    ids: list[str]
    folder: Path

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> list[Any]:
        """Cells of one column; missing ones are None."""
        return [None if is_missing(cell) else cell for cell in self.frame[name].tolist()]


def read_samples(
    schema: Schema,
    table: str | Path | pd.DataFrame | None = None,
    *,
    optional: Sequence[str] = (),
) -> Samples:
    """Read the rows that a schema describes.

    Parameters
    ----------
    schema
        Names the table (relative to ``schema.base``), its id column and the columns in use.
    table
        Another table with the same columns: a path, or a DataFrame (paths in its cells are then
        relative to ``schema.base``).
    optional
        Columns that may be absent, such as the labels of a table to predict.

    Raises
    ------
    SchemaError
        There is no such table, or it lacks a column.
    DataError
        The file cannot be read, holds no row, or an id is empty or not unique.
    """
    frame, folder, id_column = _frame(schema, table)
    frame = frame.rename(columns=str)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise SchemaError(f"the table has two columns {twice!r}; rename one")
    for what, name in _columns_in_use(schema):
        if name not in frame.columns and name not in optional:
            known = ", ".join(map(str, frame.columns))
            raise SchemaError(f"the table has no column {name!r} ({what}); it has {known}")
    if not len(frame):
        raise DataError("the table has no rows")
    frame = frame.reset_index(drop=True)
    return Samples(frame, _ids(frame, id_column), folder)


def read_frame(path: str | Path) -> pd.DataFrame:
    """Read one table file; text stays as it is written (``NA`` and ``007`` included)."""
    import pandas as pd

    path = Path(path)
    kind = path.suffix.lower()
    if not path.is_file():
        raise SchemaError(f"there is no table {str(path)!r}; check `table:` in the schema")
    try:
        if kind in (".csv", ".tsv"):
            return pd.read_csv(
                path,
                sep="\t" if kind == ".tsv" else ",",
                dtype=str,
                keep_default_na=False,
                na_values=[""],
                encoding="utf-8-sig",
                skip_blank_lines=True,
            )
        if kind in (".parquet", ".pq"):
            return pd.read_parquet(path)
        if kind in (".jsonl", ".ndjson"):
            return _json_lines(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 text; save it as UTF-8") from error
    except DataError:
        raise
    except Exception as error:  # pandas and pyarrow raise many classes for a broken file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it is broken"
        raise DataError(f"{path.name} cannot be read as a table: {reason}") from error
    raise SchemaError(f"{path.name} is not a table this reads; use {_READABLE}, or a folder")


def _frame(
    schema: Schema, table: str | Path | pd.DataFrame | None
) -> tuple[pd.DataFrame, Path, str | None]:
    if table is not None and not isinstance(table, str | Path):
        return table, Path(schema.base), schema.id
    path = Path(schema.base) / schema.table if table is None else Path(table)
    if path.is_dir():
        column = schema.id or "id"
        return folder_frame(path, schema.id), path, column
    return read_frame(path), path.parent, schema.id


def folder_frame(folder: Path, id_column: str | None = None) -> pd.DataFrame:
    """A folder of files named by id, as a table of relative paths.

    Each subfolder becomes a column of its name: ``audio/a7.wav`` or the folder ``frames/a7`` is
    the value of row ``a7``. A ``table.csv``, ``labels.csv`` or ``samples.csv`` in it lists the
    rows and adds its own columns; without one, every id found is a row.

    Raises
    ------
    DataError
        Two files of one subfolder have the same id, or there is nothing in the folder.
    """
    import pandas as pd

    column = id_column or "id"
    media: dict[str, dict[str, str]] = {}
    for sub in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        found = media.setdefault(sub.name, {})
        for entry in sorted(p for p in sub.iterdir() if not p.name.startswith(".")):
            name = entry.name if entry.is_dir() else entry.stem
            if name in found:
                raise DataError(
                    f"id {name!r} has two files in {sub.name!r}: {found[name]} and "
                    f"{sub.name}/{entry.name}; keep one"
                )
            found[name] = f"{sub.name}/{entry.name}"
    table = next((folder / n for n in TABLE_NAMES if (folder / n).is_file()), None)
    if table is not None:
        frame = read_frame(table)
        if column not in frame.columns:
            raise SchemaError(f"{table.name} has no column {column!r}; name its id column by `id:`")
    elif media:
        ids = sorted(set().union(*media.values()))
        frame = pd.DataFrame({column: pd.Series(ids, dtype=object)})
    else:
        raise DataError(f"the folder {folder.name!r} holds no subfolder of files named by id")
    for name, found in media.items():
        if name not in frame.columns:
            frame[name] = pd.Series(
                [found.get(str(i).strip()) for i in frame[column]], index=frame.index, dtype=object
            )
    return frame


def _json_lines(path: Path) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for n, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"line {n} of {path.name} is not valid JSON") from error
        if not isinstance(row, dict):
            raise DataError(f"line {n} of {path.name} is not a JSON object")
        rows.append(row)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    # Object cells: a column of whole numbers with a gap must not become floats.
    return pd.DataFrame({c: pd.Series([row.get(c) for row in rows], dtype=object) for c in columns})


def _columns_in_use(schema: Schema) -> list[tuple[str, str]]:
    used = [(f"modality {m.name!r}", c) for m in schema.modalities for c in m.columns]
    used += [(f"task {t.name!r}", c) for t in schema.tasks for c in t.columns]
    if schema.id is not None:
        used.append(("id", schema.id))
    if schema.split.column is not None:
        used.append(("split", schema.split.column))
    elif schema.split.group is not None:
        used.append(("split group", schema.split.group))
    if schema.context is not None:
        used += [("context group", schema.context.group), ("context order", schema.context.order)]
    return used


def _ids(frame: pd.DataFrame, column: str | None) -> list[str]:
    if column is None:
        return [str(i) for i in range(len(frame))]
    ids: list[str] = []
    seen: dict[str, int] = {}
    for row, cell in enumerate(frame[column].tolist()):
        if is_missing(cell):
            raise DataError(f"row {row}: the id in column {column!r} is empty; give each row one")
        whole = isinstance(cell, float) and cell.is_integer()
        name = str(int(cell)) if whole else str(cell).strip()
        if name in seen:
            raise DataError(
                f"row {row}: id {name!r} in column {column!r} is already that of row {seen[name]}; "
                "ids must be unique"
            )
        seen[name] = row
        ids.append(name)
    return ids
