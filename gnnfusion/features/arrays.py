"""Numeric arrays from files, and their standardization; shared by the array and series kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gnnfusion.features.files import ArrayRow, File

_FULL = 1024  # per-element statistics up to this size of a node; per first axis beyond


def read_array(cell: File | ArrayRow, key: str | None = None) -> np.ndarray:
    """The array in an ``.npy``, ``.npz``, ``.csv``, ``.tsv`` or ``.parquet`` file, or of a row.

    Tables have one row per time step; a first line that is no numbers names the columns. From an
    ``.npz``, `key` is read, or the only array.

    Raises
    ------
    ValueError
        The file is of another kind, or holds something else than numbers.
    """
    if isinstance(cell, ArrayRow):
        return cell.read()
    kind = cell.path.suffix.lower()
    if kind == ".npy":
        data = np.load(cell.path, allow_pickle=False)
    elif kind == ".npz":
        with np.load(cell.path, allow_pickle=False) as archive:
            names = archive.files
            if key is None and len(names) != 1:
                raise ValueError(f"it holds {', '.join(names)}; choose one by `key:`")
            if key is not None and key not in names:
                raise ValueError(f"it holds {', '.join(names)}, not {key!r}")
            data = archive[key or names[0]]
    elif kind in (".csv", ".tsv", ".txt"):
        data = _read_text(cell, "," if kind == ".csv" else None)
    elif kind in (".parquet", ".pq"):
        import pandas as pd

        data = pd.read_parquet(cell.path).to_numpy(dtype=np.float64)
    else:
        raise ValueError(f"{kind or 'no ending'} is not .npy, .npz, .csv, .tsv or .parquet")
    if data.dtype.kind not in "fiub":
        raise ValueError("it does not hold numbers")
    return data


def _read_text(file: File, delimiter: str | None) -> np.ndarray:
    lines = file.path.read_text(encoding="utf-8-sig").splitlines()
    lines = [line for line in lines if line.strip()]
    if not lines:
        return np.zeros((0, 1))

    def parse(line: str) -> list[float]:
        return [float(v) if v.strip() else float("nan") for v in line.split(delimiter)]

    try:
        parse(lines[0])
    except ValueError:
        lines = lines[1:]
    rows = [parse(line) for line in lines]
    if len({len(r) for r in rows}) > 1:
        raise ValueError("its lines have different numbers of values")
    return np.array(rows, dtype=np.float64)


def not_finite(data: np.ndarray) -> str | None:
    """What is wrong with the numbers of an array, None if nothing is."""
    if data.dtype.kind != "f" or np.isfinite(data).all():
        return None
    what = "NaN" if np.isnan(data).any() else "infinite"
    return f"it holds {what} values"


def fit_moments(nodes: Sequence[np.ndarray], shape: tuple[int, ...]) -> dict[str, Any]:
    """Mean and standard deviation of node features ``[n, *shape]`` over training nodes.

    For each element of a node up to 1024 of them, else for each index of its first axis.
    """
    axes = (0,) if np.prod(shape) <= _FULL else (0, *range(2, len(shape) + 1))
    count, total, square = 0, np.float64(0), np.float64(0)
    for x in nodes:
        if len(x):
            x64 = x.astype(np.float64)
            count += x64.size // (x64.shape[1] if len(axes) > 1 else int(np.prod(shape)))
            total = total + x64.sum(axes)
    mean = total / max(count, 1)
    wide = np.reshape(mean, np.shape(mean) + (1,) * (len(shape) - np.ndim(mean)))
    for x in nodes:
        if len(x):
            square = square + ((x.astype(np.float64) - wide) ** 2).sum(axes)
    std = np.sqrt(square / max(count, 1))
    std = np.where(std > 1e-12 * np.maximum(1.0, np.abs(mean)), std, 1.0)
    return {"mean": np.asarray(mean).tolist(), "std": np.asarray(std).tolist()}


def standardize(x: np.ndarray, state: Mapping[str, Any]) -> np.ndarray:
    """Node features ``[n, *shape]`` less the training mean, over the training deviation."""
    if "mean" not in state:
        return x
    mean, std = np.asarray(state["mean"]), np.asarray(state["std"])
    wide = (1,) * (x.ndim - 1 - mean.ndim)
    shape = (*mean.shape, *wide)
    scaled = (x.astype(np.float64) - mean.reshape(shape)) / std.reshape(shape)
    return np.asarray(scaled, dtype=np.float32)
