"""Small helpers that recipes share: writing tables, copying raw files, naming what is wrong."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gnnfusion.datasets.files import files_folder
from gnnfusion.errors import DataError
from gnnfusion.schema import Schema

SCHEMA = "schema.yaml"


def need(raw: Path | None, *names: str) -> Path:
    """The raw folder, checked to hold these files; `DataError` names the first that is absent."""
    assert raw is not None
    for name in names:
        if not (raw / name).exists():
            raise DataError(f"{raw} lacks {name}; remove the folder and fetch the data again")
    return raw


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows in order; None becomes an empty cell, which is a missing value."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file as text."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def copy_files(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy files into a prepared folder, which must stand alone when the raw data go."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (source / name).is_file():
            raise DataError(f"{source} lacks {name}; remove the folder and fetch the data again")
        shutil.copyfile(source / name, target / name)


def write_schema(folder: Path, name: str, without: str) -> None:
    """Write a data set's schema with one modality left out."""
    schema = Schema.from_yaml(files_folder(name) / SCHEMA)
    kept = tuple(m for m in schema.modalities if m.name != without)
    replace(schema, modalities=kept).to_yaml(folder / SCHEMA)
