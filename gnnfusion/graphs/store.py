"""The packed, memory-mapped store of sample graphs: node features, pointers, targets, splits.

A store is a folder with ``graphs.safetensors`` (tensors, read through a memory map) and
``store.json`` (schema, extractor settings and what they were fitted to). For S samples:

=====================  ==========================================================================
``x/M``                node features of modality M, ``[N, *shape]``
``pos/M``              positions, float32 ``[N, P]``; absent where nodes have none
``ptr/M``              row pointers, int64 ``[S + 1]``
``y/T``                labels of task T: int32 ``[S]``, uint8 ``[S, C]`` or float32 ``[S, d]``
``mask/T``             uint8 ``[S]``; 1 where labelled
``id/bytes, id/ptr``   row ids, UTF-8
``split``              uint8 ``[S]``; index into ``SPLITS``
``split/group``        int32 ``[S]``; rows that no split may part, where the schema groups them
``context/group``      int32 ``[S]``, with ``context/order`` float64 ``[S]``, if there is context
``edge/A/R/B``         given edges, int32 ``[2, E]`` local to their sample, with ``edgeptr/...``
                       and optionally ``edgeattr/...``
=====================  ==========================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from gnnfusion.errors import StoreError, UsageError
from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.index import pointers
from gnnfusion.graphs.store_file import (
    FORMAT,
    META,
    TENSORS,
    LazyTensors,
    Overlay,
    Stream,
    write_store,
)
from gnnfusion.schema import SPLITS, Schema

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


@dataclass(frozen=True)
class PackedNodes:
    """All nodes of one modality: features ``[N, *shape]``, positions ``[N, P]``, pointers."""

    x: Tensor
    pos: Tensor
    ptr: Tensor
    spec: NodeSpec


class GraphStore:
    """Sample graphs, packed; nothing is read from disk before it is asked for.

    Parameters
    ----------
    meta
        What ``store.json`` holds: ``schema``, ``modalities``, ``tasks``.
    tensors
        Mapping of the tensor names above to tensors.
    path
        Folder it was opened from; None in memory.
    """

    def __init__(
        self, meta: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path | None = None
    ) -> None:
        self.meta = dict(meta)
        self.tensors = tensors
        self.path = path
        self.schema = Schema.from_dict(meta["schema"])

    @classmethod
    def open(cls, path: str | Path) -> GraphStore:
        """Open a store folder; takes milliseconds whatever its size.

        Raises
        ------
        StoreError
            The folder is no store, of another format, truncated or inconsistent.
        """
        path = Path(path)
        if not (path / META).is_file() or not (path / TENSORS).is_file():
            raise StoreError(f"{path} is not a graph store; make one with `gnnfusion build`")
        try:
            meta = json.loads((path / META).read_text(encoding="utf-8"))
        except ValueError as error:
            raise StoreError(f"{path / META} is corrupt; build the store again") from error
        found = meta.get("format") if isinstance(meta, dict) else None
        if found != FORMAT:
            raise StoreError(
                f"{path} has format {found!r}, this version reads {FORMAT}; build the store again"
            )
        try:
            store = cls(meta, LazyTensors(path / TENSORS), path)
        except SafetensorError as error:
            raise StoreError(
                f"{path / TENSORS} is corrupt or truncated; build the store again"
            ) from error
        except KeyError as error:
            raise StoreError(f"{path / META} lacks {error}; build the store again") from error
        store._check(path)
        return store

    @classmethod
    def from_pyg(cls, graphs: Sequence[HeteroData], ids: Sequence[str] | None = None) -> GraphStore:
        """A store in memory of PyG graphs; see `gnnfusion.graphs.interop.store_from_pyg`."""
        from gnnfusion.graphs.interop import store_from_pyg

        return store_from_pyg(graphs, ids)

    def to_data_list(self, rows: Tensor | None = None) -> list[HeteroData]:
        """Samples as PyG graphs, all by default; see `gnnfusion.graphs.interop.to_data_list`."""
        from gnnfusion.graphs.interop import to_data_list

        return to_data_list(self, rows)

    def save(self, path: str | Path) -> None:
        """Write this store to a folder."""
        streams = {
            name: Stream.of(np.ascontiguousarray(self.tensors[name].numpy()))
            for name in self.tensors
        }
        write_store(Path(path), self.meta, streams)

    def _check(self, path: Path) -> None:
        needed = ["split", "id/bytes", "id/ptr"]
        needed += [f"{part}/{m}" for m in self.schema.modality_names for part in ("x", "ptr")]
        needed += [f"{part}/{t}" for t in self.schema.task_names for part in ("y", "mask")]
        for name in needed:
            if name not in self.tensors:
                raise StoreError(f"{path} lacks the tensor {name!r}; build the store again")
        sizes = {f"ptr/{m}": len(self) + 1 for m in self.schema.modality_names}
        sizes |= {
            f"{part}/{t}": len(self) for t in self.schema.task_names for part in ("y", "mask")
        }
        for m in self.schema.modality_names:
            ptr = self.tensors[f"ptr/{m}"]
            sizes[f"x/{m}"] = int(ptr[-1]) if len(ptr) else 0
        for name, size in {**sizes, "id/ptr": len(self) + 1}.items():
            if len(self.tensors[name]) != size:
                raise StoreError(
                    f"{path}: the tensor {name!r} has {len(self.tensors[name])} rows, not {size}; "
                    "build the store again"
                )

    def __len__(self) -> int:
        return len(self.split)

    @cached_property
    def split(self) -> Tensor:
        """Split of each sample, uint8 ``[S]``, an index into ``SPLITS``."""
        return self.tensors["split"]

    @property
    def groups(self) -> Tensor | None:
        """Group of each sample that no split may cut, int32 ``[S]``; None where there is none.

        That of ``split.group``; else that of the context, which ends where a split begins.

        Raises
        ------
        StoreError
            The schema groups rows, and the store was built before stores kept that.
        """
        if "split/group" in self.tensors:
            return self.tensors["split/group"]
        if self.schema.split.column is None and self.schema.split.group is not None:
            raise StoreError(
                f"{self.path or 'the store'} does not hold the groups of column "
                f"{self.schema.split.group!r}; build the store again"
            )
        return self.tensors.get("context/group")

    def rows(self, *splits: str) -> Tensor:
        """Rows of the named splits in order; of all samples if none is named."""
        if not splits:
            return torch.arange(len(self))
        codes = torch.tensor([SPLITS.index(s) for s in splits], dtype=self.split.dtype)
        return torch.isin(self.split, codes).nonzero().squeeze(1)

    def with_split(self, split: Tensor) -> GraphStore:
        """The same samples under another split (uint8 ``[S]``); tensors are shared."""
        tensors = Overlay(self.tensors, {"split": split.to(torch.uint8)})
        return GraphStore(self.meta, tensors, self.path)

    def with_labels_of(self, tasks: Sequence[str]) -> GraphStore:
        """The same samples as if the other tasks had no label; tensors are shared.

        Raises
        ------
        UsageError
            There is no such task.
        """
        for name in tasks:
            if name not in self.schema.task_names:
                raise UsageError(
                    f"there is no task {name!r}; use {', '.join(self.schema.task_names)}"
                )
        hidden = [t for t in self.schema.task_names if t not in tasks]
        gone = {f"mask/{t}": torch.zeros_like(self.tensors[f"mask/{t}"]) for t in hidden}
        return GraphStore(self.meta, Overlay(self.tensors, gone), self.path)

    def with_weights(self, weights: Mapping[str, float]) -> GraphStore:
        """The same samples, the losses of the tasks named with these weights.

        Raises
        ------
        UsageError
            There is no such task.
        """
        for name in weights:
            if name not in self.schema.task_names:
                raise UsageError(
                    f"a weight names {name!r}, which is no task; "
                    f"use {', '.join(self.schema.task_names)}"
                )
        tasks = [replace(t, weight=weights.get(t.name, t.weight)) for t in self.schema.tasks]
        meta = {**self.meta, "schema": self.schema.with_tasks(tasks).to_dict()}
        return GraphStore(meta, self.tensors, self.path)

    def with_missing(self, labels: Tensor, modalities: Tensor) -> GraphStore:
        """The same samples as if they lacked what is marked.

        Parameters
        ----------
        labels
            Labels to leave out, bool ``[S, T]``.
        modalities
            Modalities to leave out, nodes and given edges, bool ``[S, M]``.
        """
        changed: dict[str, Tensor] = {}
        for place, task in enumerate(self.schema.task_names):
            changed[f"mask/{task}"] = self.mask(task) & ~labels[:, place]
        gone = {m: modalities[:, i] for i, m in enumerate(self.schema.modality_names)}
        for name, absent in gone.items():
            counts = self.tensors[f"ptr/{name}"].diff()
            kept = torch.repeat_interleave(~absent, counts)
            for part in ("x", "pos"):
                if f"{part}/{name}" in self.tensors:
                    changed[f"{part}/{name}"] = self.tensors[f"{part}/{name}"][kept]
            changed[f"ptr/{name}"] = pointers(counts.masked_fill(absent, 0))
        for kind in self.given_types:
            name = "/".join(kind)
            counts = self.tensors[f"edgeptr/{name}"].diff()
            absent = torch.zeros(len(self), dtype=torch.bool)
            for end in (kind[0], kind[2]):
                absent = absent | gone.get(end, absent)
            kept = torch.repeat_interleave(~absent, counts)
            changed[f"edge/{name}"] = self.tensors[f"edge/{name}"][:, kept]
            if f"edgeattr/{name}" in self.tensors:
                changed[f"edgeattr/{name}"] = self.tensors[f"edgeattr/{name}"][kept]
            changed[f"edgeptr/{name}"] = pointers(counts.masked_fill(absent, 0))
        return GraphStore(self.meta, Overlay(self.tensors, changed), self.path)

    def ids(self, rows: Tensor | None = None) -> list[str]:
        """Row ids, of all samples by default."""
        data, ptr = self.tensors["id/bytes"].numpy(), self.tensors["id/ptr"].tolist()
        chosen = range(len(self)) if rows is None else rows.tolist()
        return [bytes(data[ptr[r] : ptr[r + 1]]).decode("utf-8") for r in chosen]

    def spec(self, modality: str) -> NodeSpec:
        """Layout of the modality's nodes."""
        return NodeSpec.from_dict(self.meta["modalities"][modality]["spec"])

    def nodes(self, modality: str) -> PackedNodes:
        """All nodes of one modality, as views of the memory map."""
        if modality not in self._nodes:
            spec = self.spec(modality)
            x = self.tensors[f"x/{modality}"]
            pos = (
                self.tensors[f"pos/{modality}"]
                if spec.position
                else torch.empty(len(x), 0, dtype=torch.float32)
            )
            self._nodes[modality] = PackedNodes(x, pos, self.tensors[f"ptr/{modality}"], spec)
        return self._nodes[modality]

    @cached_property
    def _nodes(self) -> dict[str, PackedNodes]:
        return {}

    def present(self, rows: Tensor) -> Tensor:
        """Which modalities the samples have, bool ``[B, M]`` in the order of the schema."""
        columns = [self.nodes(m).ptr for m in self.schema.modality_names]
        return torch.stack([ptr[rows + 1] > ptr[rows] for ptr in columns], 1)

    def classes(self, task: str) -> tuple[str, ...]:
        """Class labels of a task in the order of its indices; empty for regression."""
        return tuple(self.meta["tasks"].get(task, {}).get("classes", ()))

    def target(self, task: str) -> Tensor:
        """Labels of a task (see the module's table)."""
        return self.tensors[f"y/{task}"]

    def mask(self, task: str) -> Tensor:
        """Which samples have a label for the task, bool ``[S]``."""
        return self.tensors[f"mask/{task}"].bool()

    @cached_property
    def masks(self) -> Tensor:
        """Which samples have which labels, bool ``[S, T]`` in the order of the schema."""
        if not self.schema.tasks:
            return torch.zeros(len(self), 0, dtype=torch.bool)
        return torch.stack([self.mask(t) for t in self.schema.task_names], 1)

    @cached_property
    def given_types(self) -> tuple[tuple[str, str, str], ...]:
        """Relations whose edges are stored with each sample."""
        names = sorted(n for n in self.tensors if n.startswith("edge/"))
        return tuple(tuple(n.split("/", 3)[1:]) for n in names)  # type: ignore[misc]

    # -- context ----------------------------------------------------------------------------

    def units(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Table rows whose nodes make up each sample's graph: itself and its context.

        Parameters
        ----------
        rows
            The B samples.

        Returns
        -------
        rows, sample, offset
            ``[U]`` each, sorted by sample, then by offset: the row, the sample (0..B-1) it
            belongs to, and its place in the order relative to that sample (0 = itself).
        """
        if self.schema.context is None:
            return rows, torch.arange(len(rows)), torch.zeros(len(rows), dtype=torch.long)
        context = self.schema.context
        order, rank, line = self._context_lines
        offset = torch.arange(-context.before, context.after + 1)
        place = rank[rows].unsqueeze(1) + offset
        inside = (place >= 0) & (place < len(order))
        neighbour = order[place.clamp(0, len(order) - 1)]
        # A line is one group within one split, so context never crosses a split.
        inside &= line[neighbour] == line[rows].unsqueeze(1)
        sample, column = inside.nonzero(as_tuple=True)
        return neighbour[inside], sample, offset[column]

    @cached_property
    def _context_lines(self) -> tuple[Tensor, Tensor, Tensor]:
        group = self.tensors["context/group"].numpy().astype(np.int64)
        line = group * len(SPLITS) + self.split.numpy()
        order = np.lexsort((self.tensors["context/order"].numpy(), line))
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        return torch.from_numpy(order), torch.from_numpy(rank), torch.from_numpy(line)


# -- from memory ------------------------------------------------------------------------------


def pack_ids(ids: Sequence[str]) -> dict[str, np.ndarray]:
    """Ids as the two tensors ``id/bytes`` and ``id/ptr``."""
    encoded = [i.encode("utf-8") for i in ids]
    ptr = np.zeros(len(ids) + 1, dtype=np.int64)
    np.cumsum([len(e) for e in encoded], out=ptr[1:])
    return {"id/bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8).copy(), "id/ptr": ptr}


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
