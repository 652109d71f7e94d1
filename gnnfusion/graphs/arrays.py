"""A store in memory from arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.index import pack_ids
from gnnfusion.graphs.store import GraphStore
from gnnfusion.schema import Schema


def store_from_arrays(
    schema: Schema,
    nodes: Mapping[str, np.ndarray | Sequence[np.ndarray]],
    targets: Mapping[str, np.ndarray],
    *,
    split: np.ndarray,
    masks: Mapping[str, np.ndarray] | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
    ids: Sequence[str] | None = None,
) -> GraphStore:
    """A store in memory from feature vectors.

    Parameters
    ----------
    schema
        Its modalities (any kind) and tasks name the arrays.
    nodes
        For each modality ``[S, n, *shape]``, or one array ``[n_s, *shape]`` per sample (``n_s``
        may be 0: absent).
    targets
        For each task its labels, ``[S]`` or ``[S, d]``; NaN means unlabelled.
    split
        ``[S]``, an index into ``SPLITS``.
    masks
        ``[S]`` per task; by default, where the label is not NaN.
    classes
        Class names per class task; by default ``0 .. max``.
    ids
        By default the row numbers.
    """
    count = len(split)
    tensors: dict[str, np.ndarray] = pack_ids(ids or [str(i) for i in range(count)])
    tensors["split"] = np.asarray(split, dtype=np.uint8)
    modalities: dict[str, Any] = {}
    for m in schema.modalities:
        arrays = [np.asarray(a) for a in nodes[m.name]]
        ptr = np.zeros(count + 1, dtype=np.int64)
        np.cumsum([len(a) for a in arrays], out=ptr[1:])
        shape = next((a.shape[1:] for a in arrays if a.size), arrays[0].shape[1:])
        x = np.concatenate([a.reshape(len(a), *shape) for a in arrays])
        tensors[f"x/{m.name}"], tensors[f"ptr/{m.name}"] = x, ptr
        spec = NodeSpec(tuple(shape), str(x.dtype), ("index",))
        index = np.arange(len(x)) - np.repeat(ptr[:-1], np.diff(ptr))
        tensors[f"pos/{m.name}"] = index[:, None].astype(np.float32)
        modalities[m.name] = {"spec": spec.to_dict(), "settings": {}, "state": {}}
    task_meta: dict[str, Any] = {}
    for t in schema.tasks:
        y = np.asarray(targets[t.name])
        empty = np.isnan(y.astype(float)).reshape(count, -1).any(1)
        mask = ~empty if masks is None or t.name not in masks else np.asarray(masks[t.name], bool)
        y = np.where(mask.reshape(-1, *[1] * (y.ndim - 1)), y, 0)
        if t.kind == "regression":
            y = y.reshape(count, -1).astype(np.float32)
            task_meta[t.name] = {"classes": []}
        else:
            y = y.astype(np.uint8 if t.kind == "multilabel" else np.int32)
            number = y.shape[1] if t.kind == "multilabel" else int(y.max()) + 1
            names = (classes or {}).get(t.name) or [str(c) for c in range(max(number, 2))]
            task_meta[t.name] = {"classes": list(names)}
        tensors[f"y/{t.name}"], tensors[f"mask/{t.name}"] = y, mask.astype(np.uint8)
    meta = {
        "schema": replace(schema, table=schema.table or "memory").to_dict(),
        "modalities": modalities,
        "tasks": task_meta,
    }
    return GraphStore(meta, {n: torch.from_numpy(a) for n, a in tensors.items()})
