"""Extracted chunks on disk: found by what they were made of, checked when they are read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gnnfusion.errors import DataError

_DIGEST = 32


@dataclass(frozen=True)
class Chunk:
    """Nodes of consecutive rows: features, positions, nodes per row, and what went wrong.

    ``problems`` holds (row within the chunk, column number, sentence).
    """

    x: np.ndarray
    pos: np.ndarray
    counts: np.ndarray
    problems: list[tuple[int, int, str]]


def cache_folder() -> Path:
    """``$GNNFUSION_CACHE/features``, else the user's cache folder."""
    chosen = os.environ.get("GNNFUSION_CACHE")
    if chosen:
        return Path(chosen) / "features"
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("gnnfusion")) / "features"


def key(*parts: Any) -> str:
    """Key of plain JSON values."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def read_chunk(name: str) -> Chunk | None:
    """A cached chunk, None if there is none or it is damaged."""
    payload = _read(name)
    if payload is None:
        return None
    with np.load(io.BytesIO(payload), allow_pickle=False) as data:
        problems = json.loads(data["problems"].tobytes())
        return Chunk(data["x"], data["pos"], data["counts"], [tuple(p) for p in problems])


def write_chunk(name: str, chunk: Chunk) -> None:
    """Cache a chunk under its key."""
    out = io.BytesIO()
    problems = np.frombuffer(json.dumps(chunk.problems).encode(), dtype=np.uint8)
    np.savez(out, x=chunk.x, pos=chunk.pos, counts=chunk.counts, problems=problems)
    _write(name, out.getvalue())


def read_json(name: str) -> Any:
    """Cached JSON values, None if there are none or they are damaged."""
    payload = _read(name)
    return None if payload is None else json.loads(payload)


def write_json(name: str, value: Any) -> None:
    """Cache JSON values under their key."""
    _write(name, json.dumps(value).encode())


def _path(name: str) -> Path:
    return cache_folder() / name[:2] / name


def _read(name: str) -> bytes | None:
    try:
        data = _path(name).read_bytes()
    except OSError:
        return None
    payload = data[_DIGEST:]
    # A damaged entry counts as absent: what it held is made again.
    good = hashlib.blake2b(payload, digest_size=_DIGEST).digest() == data[:_DIGEST]
    return payload if good else None


def _write(name: str, payload: bytes) -> None:
    path = _path(name)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(hashlib.blake2b(payload, digest_size=_DIGEST).digest())
            file.write(payload)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise DataError(
            f"the feature cache {str(cache_folder())!r} cannot be written ({error.strerror}); "
            "name another folder by the environment variable GNNFUSION_CACHE"
        ) from error
