"""Views of a store: the same samples under another split, or with less known of them.

Tensors that do not change are shared, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnfusion.errors import UsageError
from gnnfusion.graphs.index import pointers
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.store_file import Overlay
from gnnfusion.graphs.topology import Topology
from gnnfusion.schema import check_task_names


def with_split(store: GraphStore, split: Tensor) -> GraphStore:
    """The same samples under another split (uint8 ``[S]``); tensors are shared."""
    tensors = Overlay(store.tensors, {"split": split.to(torch.uint8)})
    return GraphStore(store.meta, tensors, store.path)


def with_labels_of(store: GraphStore, tasks: Sequence[str]) -> GraphStore:
    """The same samples as if the other tasks had no label; tensors are shared.

    Raises
    ------
    UsageError
        There is no such task.
    """
    for name in tasks:
        if name not in store.schema.task_names:
            raise UsageError(f"there is no task {name!r}; use {', '.join(store.schema.task_names)}")
    hidden = [t for t in store.schema.task_names if t not in tasks]
    gone = {f"mask/{t}": torch.zeros_like(store.tensors[f"mask/{t}"]) for t in hidden}
    return GraphStore(store.meta, Overlay(store.tensors, gone), store.path)


def with_targets(store: GraphStore, targets: Mapping[str, np.ndarray]) -> GraphStore:
    """The same samples with other labels, known everywhere, for the tasks named.

    Parameters
    ----------
    targets
        Task -> labels of its kind, one for every sample.
    """
    changed = {}
    for task, values in targets.items():
        known = store.target(task)
        changed[f"y/{task}"] = (
            torch.as_tensor(np.asarray(values)).reshape(known.shape).to(known.dtype)
        )
        changed[f"mask/{task}"] = torch.ones(len(store), dtype=torch.uint8)
    return GraphStore(store.meta, Overlay(store.tensors, changed), store.path)


def with_weights(store: GraphStore, weights: Mapping[str, float]) -> GraphStore:
    """The same samples, the losses of the tasks named with these weights.

    Raises
    ------
    UsageError
        There is no such task.
    """
    check_task_names(weights, store.schema.task_names, "a weight")
    tasks = [replace(t, weight=weights.get(t.name, t.weight)) for t in store.schema.tasks]
    meta = {**store.meta, "schema": store.schema.with_tasks(tasks).to_dict()}
    return GraphStore(meta, store.tensors, store.path)


def with_topology(store: GraphStore, rules: Sequence[Mapping[str, Any]]) -> GraphStore:
    """The same samples wired by other rules; tensors are shared.

    Raises
    ------
    SchemaError
        A rule is unknown.
    """
    schema = replace(store.schema, topology=tuple(Topology(rules).rules))
    return GraphStore({**store.meta, "schema": schema.to_dict()}, store.tensors, store.path)


def with_missing(store: GraphStore, labels: Tensor, modalities: Tensor | None = None) -> GraphStore:
    """The same samples as if they lacked what is marked.

    Parameters
    ----------
    labels
        Labels to leave out, bool ``[S, T]``.
    modalities
        Modalities to leave out, nodes and given edges, bool ``[S, M]``; none by default.
    """
    changed: dict[str, Tensor] = {}
    for place, task in enumerate(store.schema.task_names):
        changed[f"mask/{task}"] = store.mask(task) & ~labels[:, place]
    if modalities is None:
        return GraphStore(store.meta, Overlay(store.tensors, changed), store.path)
    gone = {m: modalities[:, i] for i, m in enumerate(store.schema.modality_names)}
    for name, absent in gone.items():
        counts = store.tensors[f"ptr/{name}"].diff()
        kept = torch.repeat_interleave(~absent, counts)
        for part in ("x", "pos"):
            if f"{part}/{name}" in store.tensors:
                changed[f"{part}/{name}"] = store.tensors[f"{part}/{name}"][kept]
        changed[f"ptr/{name}"] = pointers(counts.masked_fill(absent, 0))
    for kind in store.given_types:
        name = "/".join(kind)
        counts = store.tensors[f"edgeptr/{name}"].diff()
        absent = torch.zeros(len(store), dtype=torch.bool)
        for end in (kind[0], kind[2]):
            absent = absent | gone.get(end, absent)
        kept = torch.repeat_interleave(~absent, counts)
        changed[f"edge/{name}"] = store.tensors[f"edge/{name}"][:, kept]
        if f"edgeattr/{name}" in store.tensors:
            changed[f"edgeattr/{name}"] = store.tensors[f"edgeattr/{name}"][kept]
        changed[f"edgeptr/{name}"] = pointers(counts.masked_fill(absent, 0))
    return GraphStore(store.meta, Overlay(store.tensors, changed), store.path)
