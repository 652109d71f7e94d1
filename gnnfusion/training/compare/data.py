"""Which data many trainings are on: the same for all of them, and when they are taken up again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gnnfusion.errors import UsageError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.whole import write_json

SAMPLE = 1_000_000  # to read all of a large store would take as long as a training
FILE = "data.json"


def claim(folder: Path, store: GraphStore) -> None:
    """Mark a folder as one of trainings on this store.

    Raises
    ------
    UsageError
        It is one of trainings on other data, which must not pass for these.
    """
    here = {"data": digest(store)}
    if (folder / FILE).is_file():
        if json.loads((folder / FILE).read_text(encoding="utf-8")) != here:
            raise UsageError(f"{folder} holds trainings on other data; name another folder")
        return
    write_json(folder / FILE, here)


def on_disk(store: GraphStore, folder: Path) -> Path:
    """A folder that holds this very store: its own, or, of one in memory or a view, a copy."""
    data = digest(store)
    if store.path is not None and digest(GraphStore.open(store.path)) == data:
        return store.path
    copy = folder / f"store-{data}"
    if not copy.exists():
        store.save(copy)
    return copy


def digest(store: GraphStore, targets: Mapping[str, np.ndarray] | None = None) -> str:
    """Short name of a store's data, and of other targets for its tasks.

    It reads the first million numbers of every tensor.
    """
    targets = targets or {}
    meta = {k: v for k, v in store.meta.items() if k != "format"}  # which only files have
    found = hashlib.blake2b(json.dumps(meta, sort_keys=True).encode(), digest_size=8)
    for name in sorted(store.tensors):
        values = store.tensors[name]
        found.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        found.update(values.flatten()[:SAMPLE].numpy().tobytes())
    for task in sorted(targets):
        found.update(task.encode() + np.ascontiguousarray(targets[task]).tobytes())
    return found.hexdigest()
