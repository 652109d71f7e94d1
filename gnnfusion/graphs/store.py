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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from gnnfusion.errors import StoreError
from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.store_file import (
    FORMAT,
    META,
    TENSORS,
    LazyTensors,
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
