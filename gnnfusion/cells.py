"""What a single table cell means: missing, a number, a label. Shared by samples and features."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

# Words that no number can be, so in a numeric column they can only mean "missing".
_NO_NUMBER = frozenset({"", "nan", "na", "n/a", "null", "none", "-"})
_WHOLE = re.compile(r"[+-]?\d+\.0+")


def is_missing(cell: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, NaT, or only white space."""
    if cell is None:
        return True
    if isinstance(cell, str):
        return not cell.strip()
    if isinstance(cell, float | np.floating):
        return math.isnan(cell)
    # pandas' NA and NaT are not equal to themselves, or refuse the question.
    return type(cell).__name__ in ("NAType", "NaTType")


def number(cell: Any) -> float | None:
    """The number in a cell, None if it is missing; `ValueError` if it holds something else."""
    if is_missing(cell):
        return None
    if isinstance(cell, str):
        text = cell.strip().lower()
        if text in _NO_NUMBER:
            return None
        if text in ("true", "false"):
            return float(text == "true")
        if "_" in text:  # float() would read "1_000" as a number
            raise ValueError(cell)
    try:
        value = float(cell)
    except (TypeError, ValueError):
        raise ValueError(str(cell)) from None
    return None if math.isnan(value) else value


def label(cell: Any) -> str | None:
    """A class label as text, None if missing; ``1``, ``1.0`` and ``"1.0"`` are all ``"1"``."""
    if is_missing(cell):
        return None
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    text = str(cell).strip()
    if text.lower() == "nan":
        return None
    return text.split(".")[0] if _WHOLE.fullmatch(text) else text


def sort_labels(labels: set[str]) -> tuple[str, ...]:
    """Class labels in order: by value if all are numbers, else alphabetically."""
    try:
        return tuple(sorted(labels, key=lambda text: (float(text), text)))
    except ValueError:
        return tuple(sorted(labels))
