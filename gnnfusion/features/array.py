"""Ready-made feature arrays: a file per row, a row-aligned file, or numeric columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnnfusion.cells import number
from gnnfusion.errors import DataError, SchemaError
from gnnfusion.features.arrays import fit_moments, not_finite, read_array, standardize
from gnnfusion.features.files import ArrayRow, File, Partial, Value, problem
from gnnfusion.features.nodes import Nodes, NodeSpec

VERSION = 1
CHUNK = 256
FIT_ROWS = 2048


@dataclass(frozen=True)
class Settings:
    """Settings of an array modality.

    Parameters
    ----------
    file
        A ``.npy`` file, relative to the table, whose row i belongs to row i of the table. A row
        of only NaN is missing.
    columns_are
        ``files``: the cell names a ``.npy``, ``.npz``, ``.csv`` or ``.parquet`` file;
        ``numbers``: the columns together are one vector; ``auto``: numbers where the training
        cells are.
    key
        Which array of an ``.npz``.
    nodes
        Whether the first axis of a row's array counts nodes (``[n, F]`` is n nodes of F numbers);
        None: where it has more than one axis.
    flatten
        Make a vector of each node.
    rate
        Nodes per second: positions are then seconds instead of indices.
    dtype
        ``float32``, ``uint8`` (pictures; two axes become ``(1, H, W)``), or ``auto``: uint8 where
        the file holds that.
    standardize
        Subtract the training mean and divide by the standard deviation (not for uint8).
    """

    file: str | None = None
    columns_are: str = "auto"
    key: str | None = None
    nodes: bool | None = None
    flatten: bool = False
    rate: float | None = None
    dtype: str = "auto"
    standardize: bool = True

    def __post_init__(self) -> None:
        if self.columns_are not in ("auto", "files", "numbers"):
            raise SchemaError(f"columns_are is {self.columns_are!r}; use auto, files or numbers")
        if self.dtype not in ("auto", "float32", "uint8"):
            raise SchemaError(f"dtype is {self.dtype!r}; use auto, float32 or uint8")
        if self.rate is not None and not self.rate > 0:
            raise SchemaError("rate must be more than 0 nodes per second")


def reads_files(settings: Settings) -> bool:
    return settings.columns_are != "numbers" and settings.file is None


def parallel(settings: Settings) -> bool:
    return False


def fit(settings: Settings, columns: Sequence[str], values: Sequence[Value]) -> dict[str, Any]:
    """Shape and type of a node, whether rows are sequences, and training mean and deviation."""
    arrays = []
    for value in values:
        found = _read(settings, value)
        if found is not None and not isinstance(found, str):
            arrays.append(found)
    if not arrays:
        raise DataError("no training row has an array that can be read")
    first = arrays[0]
    sequence = first.ndim > 1 if settings.nodes is None else settings.nodes
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "uint8" if first.dtype == np.uint8 else "float32"
    state: dict[str, Any] = {"sequence": sequence, "dtype": dtype}
    state["shape"] = list(_to_nodes(settings, state, first).shape[1:])
    nodes = [_to_nodes(settings, state, a) for a in arrays]
    shape = tuple(state["shape"])
    if settings.standardize and dtype == "float32":
        state |= fit_moments([n for n in nodes if n.shape[1:] == shape], shape)
    return state


def spec(settings: Settings, state: Mapping[str, Any]) -> NodeSpec:
    """Nodes of the training arrays' shape; position ``index``, or ``time`` with a rate."""
    position: tuple[str, ...] = ()
    if state["sequence"]:
        position = ("time",) if settings.rate else ("index",)
    return NodeSpec(tuple(state["shape"]), state["dtype"], position)


def extract(
    settings: Settings, state: Mapping[str, Any], values: Sequence[Value]
) -> list[Nodes | Partial | str]:
    """Nodes of each row's array; one of another shape, or with NaN, is a problem."""
    layout = spec(settings, state)
    out: list[Nodes | Partial | str] = []
    for value in values:
        data = _read(settings, value)
        if isinstance(data, str):
            out.append(data)
            continue
        if data is None:
            x = np.zeros((0, *layout.shape), dtype=layout.dtype)
        else:
            x = _to_nodes(settings, state, data)
            if x.shape[1:] != layout.shape:
                out.append(
                    f"the array has shape {data.shape}, which gives nodes of {x.shape[1:]} "
                    f"instead of {layout.shape} as in training rows"
                )
                continue
            if layout.dtype == "uint8" and data.dtype != np.uint8 and not _fits_uint8(data):
                out.append("the array holds values that are not whole numbers from 0 to 255")
                continue
            x = standardize(x, state).astype(layout.dtype)
        pos = np.arange(len(x), dtype=np.float32)[:, None] / (settings.rate or 1.0)
        out.append(Nodes(x, pos[:, : len(layout.position)].astype(np.float32)))
    return out


def _read(settings: Settings, value: Value) -> np.ndarray | str | None:
    """The array of a row, None if missing, or what is wrong with it."""
    if len(value) == 1 and isinstance(value[0], File | ArrayRow):
        cell = value[0]
        try:
            data = read_array(cell, settings.key)
        except Exception as error:  # NumPy and pyarrow raise many classes for broken files
            return problem("array", cell if isinstance(cell, File) else cell.file, error)
        where = (
            f"the array {cell.name!r}"
            if isinstance(cell, File)
            else (f"row {cell.index} of {cell.file.name!r}")
        )
        if isinstance(cell, ArrayRow) and data.dtype.kind == "f" and np.isnan(data).all():
            return None
        wrong = not_finite(data)
        return f"{where} cannot be used: {wrong}" if wrong else np.atleast_1d(data)
    if len(value) == 1 and isinstance(value[0], np.ndarray | list | tuple):
        data = np.asarray(value[0], dtype=np.float64)
        wrong = not_finite(data)
        return f"the array cannot be used: {wrong}" if wrong else data
    return _numbers(value)


def _numbers(value: Value) -> np.ndarray | str | None:
    try:
        numbers = [number(cell) for cell in value]
    except ValueError as error:
        return f"the value {str(error)[:60]!r} is not a number"
    present = [v for v in numbers if v is not None]
    if not present:
        return None
    if len(present) < len(numbers):
        return "some of its columns are empty; fill them or use the kind tabular"
    data = np.array(present, dtype=np.float64)
    wrong = not_finite(data)
    return f"the columns cannot be used: {wrong}" if wrong else data


def _to_nodes(settings: Settings, state: Mapping[str, Any], data: np.ndarray) -> np.ndarray:
    x = data if state["sequence"] else data[None]
    if x.ndim == 1:
        x = x[:, None]
    if settings.flatten:
        x = x.reshape(len(x), int(np.prod(x.shape[1:])))
    elif state["dtype"] == "uint8" and x.ndim == 3:
        x = x[:, None]
    return x if x.dtype == np.uint8 else x.astype(np.float32)


def _fits_uint8(data: np.ndarray) -> bool:
    return bool(((data >= 0) & (data <= 255) & (data == np.round(data))).all())
