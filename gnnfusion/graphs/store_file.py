"""The two files of a store: tensors are mapped on first use and streamed out block by block."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from torch import Tensor

from gnnfusion.errors import StoreError
from gnnfusion.whole import work_folder

FORMAT = 1
TENSORS = "graphs.safetensors"
META = "store.json"

_SAFETENSORS_NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


# -- reading ----------------------------------------------------------------------------------


class LazyTensors(Mapping[str, Tensor]):
    """Tensors of a safetensors file, mapped on first use."""

    def __init__(self, path: Path) -> None:
        self._file = safe_open(str(path), framework="pt")
        self._names = frozenset(self._file.keys())
        self._loaded: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._loaded:
            self._loaded[name] = self._file.get_tensor(name)
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def __len__(self) -> int:
        return len(self._names)


class Overlay(Mapping[str, Tensor]):
    """A mapping with some entries replaced, without touching the others."""

    def __init__(self, below: Mapping[str, Tensor], above: Mapping[str, Tensor]) -> None:
        self._below, self._above = below, above

    def __getitem__(self, name: str) -> Tensor:
        return self._above[name] if name in self._above else self._below[name]

    def __contains__(self, name: object) -> bool:
        return name in self._above or name in self._below

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._below, *self._above}))

    def __len__(self) -> int:
        return len({*self._below, *self._above})


# -- writing ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stream:
    """A tensor to be written block by block along its first axis, never all in memory."""

    shape: tuple[int, ...]
    dtype: str
    blocks: Callable[[], Iterator[np.ndarray]]

    @classmethod
    def of(cls, array: np.ndarray) -> Stream:
        """A stream of one block."""
        return cls(array.shape, str(array.dtype), lambda: iter([array]))

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


def write_store(path: Path, meta: Mapping[str, Any], streams: Mapping[str, Stream]) -> None:
    """Write a store under a temporary name and rename it, so that no half store is ever seen.

    The bytes depend on `meta` and the streams alone: names are sorted and nothing is dated.

    Raises
    ------
    StoreError
        A stream gave more or fewer bytes than its shape says.
    """
    with work_folder(path) as folder:
        text = json.dumps({"format": FORMAT, **meta}, indent=1, sort_keys=False, allow_nan=False)
        (folder / META).write_text(text + "\n", encoding="utf-8")
        _write_tensors(folder / TENSORS, streams)
        _replace_folder(folder, Path(path))


def _write_tensors(path: Path, streams: Mapping[str, Stream]) -> None:
    # Widest types first, so that every tensor begins at a multiple of its own item size.
    names = sorted(streams, key=lambda n: (-np.dtype(streams[n].dtype).itemsize, n))
    header: dict[str, Any] = {}
    end = 0
    for name in names:
        stream = streams[name]
        header[name] = {
            "dtype": _SAFETENSORS_NAMES[stream.dtype],
            "shape": list(stream.shape),
            "data_offsets": [end, end + stream.nbytes],
        }
        end += stream.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            stream, written = streams[name], 0
            for block in stream.blocks():
                data = np.ascontiguousarray(block, dtype=stream.dtype)
                written += data.nbytes
                file.write(data.data if data.size else b"")
            if written != stream.nbytes:
                raise StoreError(f"tensor {name!r}: {written} bytes came, {stream.nbytes} expected")
        file.flush()
        os.fsync(file.fileno())


def _replace_folder(folder: Path, path: Path) -> None:
    """Put `folder` where `path` is; an older store there is moved aside first, then removed."""
    if not path.exists():
        folder.rename(path)
        return
    if not (path / META).is_file() and any(path.iterdir()):
        raise StoreError(f"{path} exists and is no graph store; name another folder")
    path.rename(folder.parent / "old")  # goes with the work folder
    folder.rename(path)
