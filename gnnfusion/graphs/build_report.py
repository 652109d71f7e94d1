"""``build_report.csv``: every value of a table that could not be used."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPORT = "build_report.csv"


@dataclass(frozen=True)
class Problem:
    """One line of ``build_report.csv``; row -1 and no id where it is about a whole column."""

    row: int
    id: str
    column: str
    problem: str


def report_text(problems: Sequence[Problem]) -> str:
    """The report as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["row", "id", "column", "problem"])
    for p in problems:
        writer.writerow(["" if p.row < 0 else p.row, p.id, p.column, p.problem])
    return out.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
