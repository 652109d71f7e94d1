"""Labels of a table as arrays: class indices, numbers, and masks of what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnfusion.cells import label, number, sort_labels
from gnnfusion.errors import DataError
from gnnfusion.schema import Schema, Task

if TYPE_CHECKING:
    import pandas as pd

CLASS_KINDS = ("binary", "multiclass", "ordinal")
_LARGEST = float(np.finfo(np.float32).max)
_YES = {"1": 1, "true": 1, "yes": 1, "0": 0, "false": 0, "no": 0}


@dataclass(frozen=True)
class Targets:
    """Labels of one task.

    Parameters
    ----------
    values
        int32 ``[S]`` class index (binary, multiclass, ordinal), uint8 ``[S, C]`` (multilabel),
        float32 ``[S, d]`` (regression); 0 where unlabelled.
    mask
        uint8 ``[S]``; 1 where labelled.
    classes
        Class labels in the order of the indices; the columns for multilabel; empty for
        regression.
    """

    values: np.ndarray
    mask: np.ndarray
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelProblem:
    """A label that cannot be used."""

    row: int
    column: str
    text: str


def encode_targets(
    schema: Schema,
    frame: pd.DataFrame,
    ids: Sequence[str],
    split: np.ndarray,
    classes: Mapping[str, Sequence[str]] | None = None,
    problems: list[LabelProblem] | None = None,
) -> dict[str, Targets]:
    """Labels of every task of the schema.

    An empty or NaN cell is an unlabelled row; so is a vector or multilabel row that is not
    complete. Classes are those given, else those of the task, else those seen in training rows.

    Parameters
    ----------
    classes
        Classes fitted earlier, by task. With it no training rows are needed, and a task whose
        columns are not in the table is unlabelled throughout.
    problems
        Where given, bad labels are listed there and taken as unlabelled instead of raised.

    Raises
    ------
    DataError
        A label outside its classes, not a number, or infinite (row id, column and value named);
        a task with no training label, or a task with one class or one value in training.
    """
    found: list[LabelProblem] = [] if problems is None else problems
    out = {}
    for task in schema.tasks:
        if classes is not None and any(c not in frame.columns for c in task.columns):
            columns = [[None] * len(frame) for _ in task.columns]
        else:
            columns = [list(frame[c].tolist()) for c in task.columns]
        start = len(found)
        known = None if classes is None else tuple(classes.get(task.name, ()))
        if task.kind in CLASS_KINDS:
            targets = _classes(task, columns[0], split, known, found)
        elif task.kind == "multilabel":
            targets = _multilabel(task, columns, found)
        else:
            targets = _regression(task, columns, found)
        if problems is None and len(found) > start:
            p = found[start]
            more = len(found) - start - 1
            also = f" ({more} more like it)" if more else ""
            raise DataError(f"row {p.row} (id {ids[p.row]!r}), column {p.column!r}: {p.text}{also}")
        if classes is None:
            _check_training(task, targets, split)
        out[task.name] = targets
    return out


def _classes(
    task: Task,
    cells: list[Any],
    split: np.ndarray,
    known: tuple[str, ...] | None,
    problems: list[LabelProblem],
) -> Targets:
    labels = [label(cell) for cell in cells]
    classes = known or task.classes
    if classes is None:
        classes = sort_labels({t for t, s in zip(labels, split, strict=True) if t and s == 0})
        if task.kind == "binary" and len(classes) > 2:
            raise DataError(
                f"binary task {task.name!r} has {len(classes)} classes in training rows "
                f"({', '.join(classes[:4])} ...); make it multiclass"
            )
    # A schema may list 0/1 while the table holds 0.0/1.0 and the other way round.
    index = {label(c): i for i, c in enumerate(classes)}
    values = np.zeros(len(cells), dtype=np.int32)
    mask = np.zeros(len(cells), dtype=np.uint8)
    for row, text in enumerate(labels):
        if text is None:
            continue
        if text in index:
            values[row], mask[row] = index[text], 1
        else:
            seen, mend = "", "correct it or list it under `classes:`"
            if not (known or task.classes):
                seen = " seen in training rows"
                mend = "list all under `classes:`, or `stratify` the split by it"
            problems.append(
                LabelProblem(
                    row,
                    task.columns[0],
                    f"label {text!r} of task {task.name!r} is not among its classes{seen} "
                    f"({_shorten(classes)}); {mend}",
                )
            )
    return Targets(values, mask, tuple(classes))


def _multilabel(task: Task, columns: list[list[Any]], problems: list[LabelProblem]) -> Targets:
    n = len(columns[0])
    values = np.zeros((n, len(columns)), dtype=np.uint8)
    mask = np.ones(n, dtype=np.uint8)
    for c, cells in enumerate(columns):
        for row, cell in enumerate(cells):
            text = label(cell)
            if text is not None and text.lower() in _YES:
                values[row, c] = _YES[text.lower()]
                continue
            mask[row] = 0
            if text is not None:
                problems.append(
                    LabelProblem(
                        row,
                        task.columns[c],
                        f"label {text!r} of task {task.name!r} is neither 0 nor 1; correct it",
                    )
                )
    values[mask == 0] = 0
    return Targets(values, mask, task.classes or task.columns)


def _regression(task: Task, columns: list[list[Any]], problems: list[LabelProblem]) -> Targets:
    n = len(columns[0])
    values = np.zeros((n, len(columns)), dtype=np.float32)
    mask = np.ones(n, dtype=np.uint8)
    for c, cells in enumerate(columns):
        for row, cell in enumerate(cells):
            try:
                value = number(cell)
                bad = value is not None and not abs(value) <= _LARGEST
                what = "is infinite or too large"
            except ValueError:
                value, bad, what = None, True, "is not a number"
            if value is None or bad:
                mask[row] = 0
            else:
                values[row, c] = value
            if bad:
                problems.append(
                    LabelProblem(
                        row,
                        task.columns[c],
                        f"label {cell!r} of task {task.name!r} {what}; correct it or leave it "
                        "empty",
                    )
                )
    values[mask == 0] = 0
    return Targets(values, mask)


def _check_training(task: Task, targets: Targets, split: np.ndarray) -> None:
    rows = (split == 0) & (targets.mask == 1)
    columns = ", ".join(task.columns)
    if not rows.any():
        raise DataError(
            f"task {task.name!r} has no label in training rows (column {columns}); "
            "label some or leave the task out"
        )
    values = targets.values[rows]
    if task.kind != "multilabel" and not np.ptp(values, axis=0).any():
        of_classes = task.kind in CLASS_KINDS
        only = (
            repr(targets.classes[int(values[0])]) if of_classes
            else ", ".join(f"{v:g}" for v in values[0])
        )  # fmt: skip
        raise DataError(
            f"task {task.name!r} has one {'class' if of_classes else 'value'} in training rows "
            f"({only}, column {columns}); there is nothing to learn, so add others or leave the "
            "task out"
        )


def _shorten(classes: Sequence[str]) -> str:
    return ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
