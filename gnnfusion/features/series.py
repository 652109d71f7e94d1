"""Multichannel signals as nodes: windows of a file of time steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnnfusion.errors import DataError, SchemaError
from gnnfusion.features.arrays import fit_moments, not_finite, read_array, standardize
from gnnfusion.features.files import ArrayRow, File, Partial, Value, problem
from gnnfusion.features.nodes import Nodes, NodeSpec

VERSION = 1
CHUNK = 64
FIT_ROWS = 512


@dataclass(frozen=True)
class Settings:
    """Settings of a series modality.

    A row's array is ``[T, C]`` (time steps, channels), ``[T]`` (one channel), or ``[T, J, C]``:
    J places (the joints of a skeleton, the sensors of a net), which become nodes of their own.

    Parameters
    ----------
    window, hop
        Length of a window and steps between the starts of two, in samples. Windows start at
        0, hop, 2 hop, ... until the end is covered.
    pad
        What fills the last window: the ``last`` value of the series, or ``zero`` (after
        standardization, the mean).
    rate
        Samples per second; positions are the middles of the windows in seconds.
    resample
        Bring every series to this many samples first, by linear interpolation (aligns series of
        different speed); positions then tell the share of the series times ``resample / rate``.
    channels_first
        The array is ``[C, T]`` or ``[J, C, T]`` instead.
    standardize
        Subtract each channel's training mean and divide by its standard deviation.
    file
        A ``.npy`` file ``[S, T, C]``, relative to the table, whose row i belongs to row i.
    key
        Which array of an ``.npz``.
    """

    window: int = 64
    hop: int = 32
    pad: str = "last"
    rate: float = 1.0
    resample: int | None = None
    channels_first: bool = False
    standardize: bool = True
    file: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if self.window < 1 or self.hop < 1 or (self.resample is not None and self.resample < 2):
            raise SchemaError("window and hop must be at least 1 sample, resample at least 2")
        if self.pad not in ("last", "zero"):
            raise SchemaError(f"pad is {self.pad!r}; use last or zero")
        if not self.rate > 0:
            raise SchemaError("rate must be more than 0 samples per second")


def reads_files(settings: Settings) -> bool:
    return settings.file is None


def parallel(settings: Settings) -> bool:
    return settings.file is None


def fit(settings: Settings, columns: Sequence[str], values: Sequence[Value]) -> dict[str, Any]:
    """Channels, places, and each channel's training mean and deviation."""
    if len(columns) > 1:
        raise SchemaError("a series modality has one column; put channels into one file")
    found = [read_series(settings, value[0]) for value in values]
    arrays = [a for a in found if isinstance(a, np.ndarray) and len(a)]
    if not arrays:
        first = next((a for a in found if isinstance(a, str)), "all are empty")
        raise DataError(f"no training row has a series that can be read ({first})")
    _, places, channels = arrays[0].shape
    state: dict[str, Any] = {"places": places, "channels": channels}
    if settings.standardize:
        same = [a.reshape(-1, channels) for a in arrays if a.shape[2] == channels]
        state |= fit_moments(same, (channels,))
    return state


def spec(settings: Settings, state: Mapping[str, Any]) -> NodeSpec:
    """float32 ``(C, window)``; position ``time``, then ``index`` of the place if several."""
    position = ("time", "index") if state["places"] > 1 else ("time",)
    return NodeSpec((state["channels"], settings.window), "float32", position)


def extract(
    settings: Settings, state: Mapping[str, Any], values: Sequence[Value]
) -> list[Nodes | Partial | str]:
    """One node per window and place, windows first."""
    layout = spec(settings, state)
    out: list[Nodes | Partial | str] = []
    for (cell,) in values:
        data = read_series(settings, cell)
        if isinstance(data, str):
            out.append(data)
        elif data is not None and data.shape[1:] != (state["places"], state["channels"]):
            out.append(
                f"the series has {data.shape[1]} places and {data.shape[2]} channels instead of "
                f"{state['places']} and {state['channels']} as in training rows"
            )
        elif data is None or not len(data):
            shape = (0, len(layout.position))
            out.append(Nodes(np.zeros((0, *layout.shape), np.float32), np.zeros(shape, np.float32)))
        else:
            scaled = standardize(data.reshape(-1, data.shape[2]), state).reshape(data.shape)
            out.append(windows(settings, scaled, len(layout.position)))
    return out


def windows(settings: Settings, data: np.ndarray, columns: int) -> Nodes:
    """Windows of ``[T, J, C]`` as nodes ``[n * J, C, window]``."""
    length, places, channels = data.shape
    count = 1 + max(0, -(-(length - settings.window) // settings.hop))
    missing = (count - 1) * settings.hop + settings.window - length
    if missing > 0:
        filling = data[-1:] if settings.pad == "last" else np.zeros_like(data[-1:])
        data = np.concatenate([data, np.repeat(filling, missing, 0)])
    starts = np.arange(count) * settings.hop
    x = np.stack([data[s : s + settings.window] for s in starts])  # [n, L, J, C]
    x = x.transpose(0, 2, 3, 1).reshape(count * places, channels, settings.window)
    time = (starts + settings.window / 2) / settings.rate
    pos = np.stack([np.repeat(time, places), np.tile(np.arange(places), count)], 1)
    return Nodes(np.ascontiguousarray(x, dtype=np.float32), pos[:, :columns].astype(np.float32))


def read_series(settings: Settings, cell: Any) -> np.ndarray | str | None:
    """A series as float64 ``[T, J, C]``, None if missing, or what is wrong with it."""
    if cell is None:
        return None
    if isinstance(cell, File | ArrayRow):
        try:
            data = read_array(cell, settings.key)
        except Exception as error:  # NumPy and pyarrow raise many classes for broken files
            return problem("series", cell if isinstance(cell, File) else cell.file, error)
        name = repr(cell.name) if isinstance(cell, File) else f"row {cell.index}"
    else:
        data, name = np.asarray(cell), "in the cell"
    data = np.asarray(data, dtype=np.float64)
    if data.size and np.isnan(data).all():
        return None
    wrong = not_finite(data)
    if wrong:
        return f"the series {name} cannot be used: {wrong}"
    if data.ndim > 1 and settings.channels_first:
        data = np.moveaxis(data, -1, 0)
    if data.ndim == 1:
        data = data[:, None]
    if data.ndim == 2:
        data = data[:, None]
    if data.ndim != 3:
        return f"the series {name} has {data.ndim} axes; use [time], [time, channel] or 3 axes"
    if settings.resample is not None and len(data):
        data = _resample(data, settings.resample)
    return data


def _resample(data: np.ndarray, length: int) -> np.ndarray:
    """Linear interpolation at `length` moments from the first sample to the last."""
    if len(data) == 1:
        return np.repeat(data, length, 0)
    place = np.linspace(0, len(data) - 1, length)
    low = np.minimum(place.astype(int), len(data) - 2)
    share = (place - low)[:, None, None]
    return data[low] * (1 - share) + data[low + 1] * share
