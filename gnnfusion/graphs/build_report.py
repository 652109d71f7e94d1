"""``build_report.csv``: every value of a table that could not be used."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

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
