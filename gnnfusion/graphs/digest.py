"""A short name of a store's data, so that what was made of it is not taken for what was not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from gnnfusion.graphs.store import GraphStore

SAMPLE = 1_000_000  # to read all of a large store would take as long as a training


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
