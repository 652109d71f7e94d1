"""Table columns as nodes: one node per column, numbers standardized, categories coded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np

from gnnfusion.cells import is_missing, label, number, sort_labels
from gnnfusion.errors import DataError, SchemaError
from gnnfusion.features.files import Partial, Value
from gnnfusion.features.nodes import Nodes, NodeSpec

VERSION = 1
CHUNK = 1024
FIT_ROWS = None

DATE_FORMATS = ("iso", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d.%m.%Y", "%d-%m-%Y")
"""Ways of writing a date that are tried, in this order; the first that fits all rows is used."""


@dataclass(frozen=True)
class Settings:
    """Settings of a tabular modality.

    Parameters
    ----------
    numeric, categorical, dates
        Columns that are so whatever their values look like. Other columns are guessed from
        training rows: numbers are numeric, dates become days since 1970, the rest is categorical.
    standardize
        Subtract the training mean of a numeric column and divide by its standard deviation.
    max_categories
        Most categories kept of a column, the most frequent first; others count as unseen.
    """

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    standardize: bool = True
    max_categories: int = 1000

    def __post_init__(self) -> None:
        for field in ("numeric", "categorical", "dates"):
            value = getattr(self, field)
            object.__setattr__(self, field, (value,) if isinstance(value, str) else tuple(value))
        named = [*self.numeric, *self.categorical, *self.dates]
        twice = [c for c in named if named.count(c) > 1]
        if twice:
            raise SchemaError(f"column {twice[0]!r} is listed as two kinds")
        if self.max_categories < 1:
            raise SchemaError("max_categories must be at least 1")


def reads_files(settings: Settings) -> bool:
    return False


def parallel(settings: Settings) -> bool:
    return False


def fit(settings: Settings, columns: Sequence[str], values: Sequence[Value]) -> dict[str, Any]:
    """Kind, mean, standard deviation or categories of each column, from training rows."""
    for name in (*settings.numeric, *settings.categorical, *settings.dates):
        if name not in columns:
            raise SchemaError(
                f"the extractor lists column {name!r}, which is not among its columns "
                f"({', '.join(columns)})"
            )
    return {
        "columns": [
            _fit_column(settings, name, [value[c] for value in values])
            for c, name in enumerate(columns)
        ]
    }


def spec(settings: Settings, state: Mapping[str, Any]) -> NodeSpec:
    """Nodes of ``(column index, value, missing)``.

    The value is a standardized number, or a category's code: 1 .. K, and 0 for one not seen in
    training. Where the cell is missing, the value is 0 and `missing` is 1.
    """
    return NodeSpec((3,), "float32")


def extract(
    settings: Settings, state: Mapping[str, Any], values: Sequence[Value]
) -> list[Nodes | Partial | str]:
    """One node per column; none where every cell of the row is missing."""
    columns = state["columns"]
    codes = [{c: i + 1 for i, c in enumerate(col.get("categories", ()))} for col in columns]
    return [_row(columns, codes, value) for value in values]


def _row(columns: Sequence[Any], codes: Sequence[dict[str, int]], value: Value) -> Nodes | Partial:
    x = np.zeros((len(columns), 3), dtype=np.float32)
    x[:, 0] = np.arange(len(columns))
    problems = []
    for c, (column, cell) in enumerate(zip(columns, value, strict=True)):
        found: float | None
        if column["kind"] == "categorical":
            text = label(cell)
            found = None if text is None else float(codes[c].get(text, 0))
        else:
            try:
                found = to_number(cell, column)
            except ValueError:
                what = "a date" if column["kind"] == "date" else "a number"
                problems.append((c, f"the value {str(cell)[:40]!r} is not {what}"))
                found = None
            if found is not None and math.isinf(found):
                problems.append((c, "the value is infinite"))
                found = None
            if found is not None:
                found = (found - column["mean"]) / column["std"]
        if found is None:
            x[c, 2] = 1
        else:
            x[c, 1] = found
    if x[:, 2].all():
        x = x[:0]
    nodes = Nodes(x, np.zeros((len(x), 0), dtype=np.float32))
    return Partial(nodes, tuple(problems)) if problems else nodes


def to_number(cell: Any, column: Mapping[str, Any]) -> float | None:
    """A numeric or date cell as a float; dates are days since 1970-01-01."""
    if column["kind"] != "date":
        return number(cell)
    return None if is_missing(cell) else days(cell, column["format"])


def days(cell: Any, form: str) -> float:
    """Days since 1970-01-01 (UTC where there is a time zone); `ValueError` if it is no date."""
    if isinstance(cell, datetime | date):
        when = cell
    else:
        text = str(cell).strip()
        if form == "iso" and (len(text) < 8 or not text[:4].isdigit()):
            raise ValueError(text)
        when = datetime.fromisoformat(text) if form == "iso" else datetime.strptime(text, form)
    if isinstance(when, datetime):
        start = datetime(1970, 1, 1, tzinfo=when.tzinfo)
        offset = when.utcoffset()
        shift = offset.total_seconds() if offset else 0.0
        return ((when - start).total_seconds() - shift) / 86400
    return float((when - date(1970, 1, 1)).days)


def date_format(cells: Sequence[Any]) -> str | None:
    """The first of `DATE_FORMATS` that every cell follows, None if none does."""
    present = [c for c in cells if not is_missing(c)]
    for form in DATE_FORMATS if present else ():
        try:
            for cell in present:
                if not isinstance(cell, datetime | date | str):
                    return None
                days(cell, form)
        except ValueError:
            continue
        return form
    return None


def _fit_column(settings: Settings, name: str, cells: list[Any]) -> dict[str, Any]:
    if name in settings.categorical:
        return _categories(settings, name, cells)
    if name not in settings.numeric:
        form = date_format(cells)
        if form is not None and (name in settings.dates or not _all_numbers(cells)):
            return _moments(settings, {"name": name, "kind": "date", "format": form}, cells)
        if name in settings.dates:
            raise DataError(
                f"column {name!r} is listed as dates, but not every training row has one "
                "as YYYY-MM-DD, D/M/YYYY or M/D/YYYY"
            )
        if not _all_numbers(cells):
            return _categories(settings, name, cells)
    return _moments(settings, {"name": name, "kind": "numeric"}, cells)


def _all_numbers(cells: Sequence[Any]) -> bool:
    try:
        for cell in cells:
            number(cell)
    except ValueError:
        return False
    return True


def _moments(settings: Settings, column: dict[str, Any], cells: Sequence[Any]) -> dict[str, Any]:
    found = []
    for cell in cells:
        try:
            value = to_number(cell, column)
        except ValueError:
            continue
        if value is not None and math.isfinite(value):
            found.append(value)
    mean, std = 0.0, 1.0
    if found and settings.standardize:
        mean, std = float(np.mean(found)), float(np.std(found))
    if not std > 1e-12 * max(1.0, abs(mean)):
        std = 1.0  # a constant column: keep its distance from the training value in its own unit
    return {**column, "mean": mean, "std": std}


def _categories(settings: Settings, name: str, cells: Sequence[Any]) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for cell in cells:
        text = label(cell)
        if text is not None:
            counts[text] = counts.get(text, 0) + 1
    kept = sorted(counts, key=lambda t: (-counts[t], t))[: settings.max_categories]
    return {"name": name, "kind": "categorical", "categories": list(sort_labels(set(kept)))}
