"""What raw data must hold: written once from the data at hand, compared after every download."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnnfusion.datasets.files import files_folder
from gnnfusion.errors import DataError

_SET = 20  # files of one kind in a folder that are described together
_TOLERANCE = 0.25  # relative difference of the total size of re-encoded files


def describe(folder: Path, inexact: Sequence[str] = ()) -> dict[str, Any]:
    """Describe a folder of raw data as plain values.

    Parameters
    ----------
    folder
        The raw data.
    inexact
        Patterns of files (``*.jpg``) or arrays (``depth.npz:depth``) that another run need not
        give byte by byte: of files only number and total size are kept, of arrays only shape
        and type.

    Returns
    -------
    dict
        ``files`` (path -> sha256), ``arrays`` (``file.npy`` or ``file.npz:key`` -> shape, dtype,
        sha256 of the values, so that compression does not matter) and ``sets`` (``folder/*.wav``
        -> number, bytes, and a sha256 over all names and contents).
    """
    out: dict[str, Any] = {"files": {}, "arrays": {}, "sets": {}}
    groups: dict[str, list[Path]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        where = path.relative_to(folder)
        if path.suffix in (".npy", ".npz"):
            out["arrays"].update(_arrays(path, where.as_posix(), inexact))
        else:
            groups.setdefault((where.parent / f"*{path.suffix}").as_posix(), []).append(path)
    for pattern, paths in groups.items():
        exact = not any(fnmatch.fnmatch(pattern, p) for p in inexact)
        if len(paths) < _SET and exact:
            out["files"].update({p.relative_to(folder).as_posix(): _sha256(p) for p in paths})
            continue
        entry: dict[str, Any] = {
            "count": len(paths),
            "bytes": sum(p.stat().st_size for p in paths),
        }
        if exact:
            lines = "".join(f"{p.name} {_sha256(p)}\n" for p in paths)
            entry["sha256"] = hashlib.sha256(lines.encode()).hexdigest()
        out["sets"][pattern] = entry
    return out


def compare(folder: Path, expected: Mapping[str, Any]) -> list[str]:
    """Differences between a folder and what `describe` said, one sentence each."""
    inexact = [k for k, e in expected["arrays"].items() if "sha256" not in e]
    inexact += [k for k, e in expected["sets"].items() if "sha256" not in e]
    found = describe(folder, inexact)
    wrong = []
    for what in ("files", "arrays"):
        for name, entry in expected[what].items():
            if name not in found[what]:
                wrong.append(f"{name} is missing")
            elif found[what][name] != entry:
                wrong.append(f"{name} differs")
    for name, entry in expected["sets"].items():
        got = found["sets"].get(name, {"count": 0, "bytes": 0})
        if got["count"] != entry["count"]:
            wrong.append(f"{name} are {got['count']} files instead of {entry['count']}")
        elif "sha256" in entry:
            if got.get("sha256") != entry["sha256"]:
                wrong.append(f"{name} differ")
        elif abs(got["bytes"] - entry["bytes"]) > _TOLERANCE * entry["bytes"]:
            wrong.append(f"{name} are {got['bytes']} bytes instead of about {entry['bytes']}")
    return wrong


def expected(name: str) -> dict[str, Any]:
    """``checksums.json`` of a data set."""
    path = files_folder(name) / "checksums.json"
    if not path.is_file():
        raise DataError(f"data set {name!r} has no checksums; reinstall gnnfusion")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _arrays(path: Path, where: str, inexact: Sequence[str]) -> dict[str, Any]:
    loaded = np.load(path, allow_pickle=False, mmap_mode="r" if path.suffix == ".npy" else None)
    if isinstance(loaded, np.ndarray):
        return {where: _array(loaded, where in inexact)}
    with loaded as archive:
        names = {key: f"{where}:{key}" for key in sorted(archive.files)}
        return {n: _array(archive[key], n in inexact) for key, n in names.items()}


def _array(array: np.ndarray, inexact: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype)}
    if not inexact:
        entry["sha256"] = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return entry


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
