"""librosa, loaded by one process at a time."""

from __future__ import annotations

import functools
import importlib
import os
import tempfile
from pathlib import Path
from typing import Any


def lock_path() -> Path:
    """A file of this user's; the same for all that may fill one cache of numba's."""
    return Path(tempfile.gettempdir()) / f"gnnfusion_librosa_{getattr(os, 'getuid', int)()}.lock"


@functools.cache
def load_librosa() -> Any:
    """The module, with the parts that we use.

    Their first import compiles, and keeps what numba has made beside librosa. Two processes that do
    so at the same time can leave there what crashes every later process (`numba issue 10128
    <https://github.com/numba/numba/issues/10128>`_), so they wait for each other.
    """
    from filelock import FileLock

    with FileLock(lock_path()):
        for part in ("core.pitch", "core.audio", "feature", "util.utils"):
            importlib.import_module(f"librosa.{part}")
    return importlib.import_module("librosa")
