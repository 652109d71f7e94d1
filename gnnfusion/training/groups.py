"""Files that say which tasks to train together and how much each counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gnnfusion.errors import DataError


def read_groups(path: str | Path) -> tuple[tuple[str, ...], ...]:
    """Groups of tasks, as `gnnfusion relate --groups` writes them: ``{"groups": [["a", "b"]]}``.

    Raises
    ------
    DataError
        The file is missing, or holds no groups.
    """
    groups = _read(path).get("groups")
    if not isinstance(groups, list) or not all(_are_names(g) for g in groups) or not groups:
        raise DataError(
            f'{path} holds no groups; write {{"groups": [["task", "task"], ["task"]]}}, or make it '
            "with `gnnfusion relate --groups`"
        )
    return tuple(tuple(group) for group in groups)


def read_weights(path: str | Path) -> dict[str, float]:
    """Weights of tasks' losses, from the same file or another: ``{"weights": {"a": 1.5, ...}}``.

    Raises
    ------
    DataError
        The file is missing, or holds no weights.
    """
    weights = _read(path).get("weights")
    if not isinstance(weights, dict) or not weights or not all(map(_is_weight, weights.values())):
        raise DataError(
            f'{path} holds no weights of 0 or more; write {{"weights": {{"task": 1.5}}}}, or make '
            "it with `gnnfusion relate --groups`"
        )
    return {task: float(weight) for task, weight in weights.items()}


def _read(path: str | Path) -> dict[str, Any]:
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read; name a file of groups") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON file; name a file of groups") from error
    return values if isinstance(values, dict) else {}


def _are_names(group: Any) -> bool:
    return isinstance(group, list) and bool(group) and all(isinstance(t, str) for t in group)


def _is_weight(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < float("inf")
