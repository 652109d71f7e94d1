"""What an extractor is given for a row, and a digest of it for the cache."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gnnfusion.cells import is_missing
from gnnfusion.errors import DataError
from gnnfusion.features.nodes import Nodes

Value = tuple[Any, ...]
"""Cells of one row, one per column of the modality: text, numbers, `File` or `ArrayRow`;
None where missing."""


@dataclass(frozen=True)
class File:
    """A file or folder named in a cell, relative to the table's folder."""

    folder: str
    name: str

    @property
    def path(self) -> Path:
        return Path(self.folder) / self.name


@dataclass(frozen=True)
class ArrayRow:
    """Row `index` of an ``.npy`` file whose rows are those of the table."""

    file: File
    index: int

    def read(self) -> np.ndarray:
        return np.asarray(open_rows(self.file)[self.index])


@dataclass(frozen=True)
class Partial:
    """Nodes of a value of which some cells cannot be used.

    Parameters
    ----------
    nodes
        What can be used.
    problems
        Which column (its number) has which problem, one sentence each.
    """

    nodes: Nodes
    problems: tuple[tuple[int, str], ...]


def open_rows(file: File) -> np.ndarray:
    """The memory-mapped array of a row-aligned ``.npy`` file; `DataError` if it is none."""
    try:
        stat = file.path.stat()
    except OSError as error:
        raise DataError(f"the row-aligned array {file.name!r} is not there") from error
    return _map(str(file.path), file.name, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _map(path: str, name: str, _mtime: int, _size: int) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"the row-aligned array {name!r} is not a readable .npy file") from error
    if not isinstance(array, np.ndarray) or array.ndim < 1:
        raise DataError(f"the row-aligned array {name!r} must be one .npy array of rows")
    return array


def reason(error: BaseException) -> str:
    """First line of an error's message, without the path that some libraries put in it."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return text[:160]


def problem(what: str, file: File, error: BaseException) -> str:
    """The sentence for a file that cannot be used."""
    if isinstance(error, FileNotFoundError):
        return f"the {what} {file.name!r} is not there"
    return f"the {what} {file.name!r} cannot be read ({_unpath(reason(error), file)})"


def _unpath(text: str, file: File) -> str:
    return text.replace(str(file.path), file.name).replace(file.folder + os.sep, "")


def digest(value: Value) -> bytes:
    """Digest of what a value holds; for a file its name and bytes, wherever its folder is."""
    h = hashlib.blake2b(digest_size=20)
    for cell in value:
        h.update(_cell_digest(cell))
    return h.digest()


def _cell_digest(cell: Any) -> bytes:
    h = hashlib.blake2b(digest_size=20)
    if isinstance(cell, File):
        h.update(b"file\0" + cell.name.encode())
        path = cell.path
        if path.is_dir():
            for entry in sorted(p for p in path.iterdir() if p.is_file()):
                h.update(b"\0entry\0" + entry.name.encode() + b"\0" + _file_digest(entry))
        else:
            h.update(b"\0bytes\0" + _file_digest(path))
    elif isinstance(cell, ArrayRow):
        data = np.ascontiguousarray(cell.read())
        h.update(f"row\0{data.dtype}\0{data.shape}\0".encode() + data.tobytes())
    elif isinstance(cell, np.ndarray | list | tuple):
        data = np.asarray(cell)
        h.update(f"array\0{data.dtype}\0{data.shape}\0".encode() + data.tobytes())
    elif is_missing(cell):
        h.update(b"missing")
    else:
        h.update(f"{type(cell).__name__}\0{cell}".encode())
    return h.digest()


def _file_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).digest()
    except OSError as error:  # kept in the key, so that the file is looked for again next time
        return f"unreadable {error.errno}".encode()
