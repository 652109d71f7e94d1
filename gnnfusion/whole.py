"""Files and folders that are seen whole or not at all: made beside their place, then renamed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` when all went well, and is removed when not.

    Parameters
    ----------
    path
        The file to be; the folder that holds it is made if need be.
    """
    path = Path(path)
    with _beside(path) as folder:
        part = folder / path.name
        yield part
        os.replace(part, path)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, line ends as they are, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8", newline="")


def write_json(path: str | Path, values: Any) -> None:
    """Write plain values as JSON, whole or not at all; ``ValueError`` for NaN."""
    write_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """Plain values with None for every NaN and infinity, for which JSON has no number."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def work_folder(path: str | Path) -> Iterator[Path]:
    """A folder in which to make what the caller then renames to `path`; what is left is removed.

    Folders that killed processes of this machine left behind for the same `path` go first.
    """
    path = Path(path)
    with _beside(path) as folder:
        work = folder / path.name
        work.mkdir()
        yield work


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A new hidden folder beside `path`, so that renaming stays within one file system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    prefix = f".{path.name}.{_machine()}.{os.getpid()}."
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(path: Path) -> None:
    """Remove what processes that are no more left behind for `path`."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.{_machine()}\.(\d+)\.")
    for entry in path.parent.iterdir():
        found = pattern.match(entry.name)
        if found and not _runs(int(found[1])):
            shutil.rmtree(entry, ignore_errors=True)


def _machine() -> str:
    """Short name of this machine: process numbers mean nothing on another."""
    return hashlib.blake2b(socket.gethostname().encode(), digest_size=4).hexdigest()


def _runs(process: int) -> bool:
    if os.name != "posix":  # elsewhere, asking may end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, and belongs to someone else
        return True
    return True
