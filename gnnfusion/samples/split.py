"""Divide rows into train, valid and test: by a column, or by seeded ratios."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnfusion.cells import is_missing, label, number
from gnnfusion.errors import DataError, SchemaError
from gnnfusion.schema import SPLITS, Schema, Split

if TYPE_CHECKING:
    import pandas as pd

SPLIT_NAMES = {
    "train": 0, "training": 0, "valid": 1, "val": 1, "validation": 1, "dev": 1, "test": 2,
}  # fmt: skip
_BINS = 10  # a numeric column with more values than twice this is stratified by quantiles


def split_rows(schema: Schema, frame: pd.DataFrame, ids: Sequence[str]) -> np.ndarray:
    """Split of each row, uint8 ``[S]``: 0 train, 1 valid, 2 test.

    By ratio, a row's split depends on its id, the seed and which other rows there are, not on
    their order. With ``group``, no group is in two splits; a row without a group is its own.
    With ``stratify`` (a column or a task), each split gets each stratum in proportion, and a
    stratum's first rows go to train, so that rare classes can be learned.

    Raises
    ------
    DataError
        A split's name is unknown (row named), or a split that is asked for gets no row.
    SchemaError
        A column is not there.
    """
    split = schema.split
    if split.column is not None:
        codes = _by_column(_cells(frame, split.column, "split column"), split.column, ids)
    else:
        codes = _by_ratio(split, ids, _strata(schema, frame), _groups(frame, split.group, ids))
    if not (codes == 0).any():
        where = f"column {split.column!r}" if split.column else "the ratios"
        raise DataError(f"the train split is empty; check {where} of `split:`")
    return codes


def split_groups(schema: Schema, frame: pd.DataFrame, ids: Sequence[str]) -> np.ndarray | None:
    """Group of each row that a split never cuts, int32 ``[S]``; None where the schema names none.

    A row without a group is its own, as in `split_rows`.
    """
    if schema.split.column is not None or schema.split.group is None:
        return None
    names = np.asarray(_groups(frame, schema.split.group, ids), dtype=object).astype(str)
    return np.unique(names, return_inverse=True)[1].astype(np.int32)


def _cells(frame: pd.DataFrame, column: str, what: str) -> list[Any]:
    if column not in frame.columns:
        known = ", ".join(map(str, frame.columns))
        raise SchemaError(f"the table has no column {column!r} ({what}); it has {known}")
    return list(frame[column].tolist())


def _by_column(cells: list[Any], column: str, ids: Sequence[str]) -> np.ndarray:
    codes = np.empty(len(cells), dtype=np.uint8)
    for row, cell in enumerate(cells):
        name = "" if is_missing(cell) else str(cell).strip().lower()
        if name not in SPLIT_NAMES:
            raise DataError(
                f"row {row} (id {ids[row]!r}): column {column!r} says {name!r}, "
                "which is no split; use train, valid or test"
            )
        codes[row] = SPLIT_NAMES[name]
    return codes


def _by_ratio(
    split: Split, ids: Sequence[str], strata: np.ndarray, groups: Sequence[str]
) -> np.ndarray:
    ratios = np.array([split.ratios.get(name, 0.0) for name in SPLITS])
    names, unit = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    keys = [hashlib.blake2b(f"{split.seed}\0{n}".encode(), digest_size=8).digest() for n in names]
    n_strata = int(strata.max()) + 1
    if n_strata == 1 and len(names) == len(ids):
        chosen = _cut(keys, ratios)
    else:
        counts = np.zeros((len(names), n_strata))
        np.add.at(counts, (unit, strata), 1)
        chosen = _balance(counts, keys, ratios)
    codes = chosen[unit].astype(np.uint8)
    for code, (name, ratio) in enumerate(zip(SPLITS, ratios, strict=True)):
        if ratio > 0 and not (codes == code).any():
            what = "rows" if len(names) == len(ids) else "groups"
            raise DataError(
                f"the {name} split is empty: {len(names)} {what} are too few for a share of "
                f"{ratio:g}; change `ratios` of `split:`"
            )
    return codes


def _cut(keys: list[bytes], ratios: np.ndarray) -> np.ndarray:
    """Units in hashed order, cut at the cumulative ratios."""
    order = sorted(range(len(keys)), key=keys.__getitem__)
    ends = np.round(np.cumsum(ratios) * len(keys)).astype(int)
    codes = np.empty(len(keys), dtype=np.uint8)
    codes[order] = np.searchsorted(ends, np.arange(len(keys)), side="right")
    return codes


def _balance(counts: np.ndarray, keys: list[bytes], ratios: np.ndarray) -> np.ndarray:
    """Give each unit (a group or a row) to the split with most room for what it holds.

    Greedy, large units first, as in scikit-learn's ``StratifiedGroupKFold``. Room is counted in
    each stratum and overall, as a share of the rows there.
    """
    totals = counts.sum(0)
    sizes = counts.sum(1)
    room = ratios[:, None] * totals
    overall = ratios * sizes.sum()
    open_splits = np.flatnonzero(ratios > 0)
    codes = np.empty(len(keys), dtype=np.uint8)
    for u in sorted(range(len(keys)), key=lambda u: (-sizes[u], keys[u])):
        score = (room / totals) @ counts[u] + overall / sizes.sum() * sizes[u]
        best = open_splits[np.argmax(score[open_splits])]
        room[best] -= counts[u]
        overall[best] -= sizes[u]
        codes[u] = best
    return codes


def _groups(frame: pd.DataFrame, column: str | None, ids: Sequence[str]) -> list[str]:
    if column is None:
        return [f"row {i}" for i in ids]
    cells = _cells(frame, column, "split group")
    return [
        f"row {i}" if is_missing(cell) else f"group {label(cell)}"
        for cell, i in zip(cells, ids, strict=True)
    ]


def _strata(schema: Schema, frame: pd.DataFrame) -> np.ndarray:
    name = schema.split.stratify
    if name is None:
        return np.zeros(len(frame), dtype=np.int64)
    column = name
    if name not in frame.columns and name in schema.task_names:
        column = schema.task(name).columns[0]
    cells = _cells(frame, column, "split stratify")
    try:
        values = [number(cell) for cell in cells]
    except ValueError:
        values = []
    known = sorted({v for v in values if v is not None})
    if len(known) > 2 * _BINS:
        edges = np.quantile([v for v in values if v is not None], np.linspace(0, 1, _BINS + 1))
        texts = ["" if v is None else str(np.searchsorted(edges[1:-1], v)) for v in values]
    else:
        texts = [label(cell) or "" for cell in cells]
    _, codes = np.unique(np.asarray(texts, dtype=object).astype(str), return_inverse=True)
    return codes
