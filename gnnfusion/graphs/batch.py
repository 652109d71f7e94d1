"""A batch of sample graphs: every node and edge type present, possibly empty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gnnfusion.graphs.index import pointers, ranges
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.topology import (
    TASK,
    Edges,
    EdgeType,
    Layout,
    NodeLayout,
    Topology,
    default_rules,
)


@dataclass(frozen=True)
class GraphBatch:
    """B sample graphs in packed form.

    Task node t of sample b has the index ``b * T + t``. Context rows bring nodes, but neither
    task nodes nor labels.

    Parameters
    ----------
    rows
        Store row of each sample, ``[B]``.
    nodes
        Per modality: features ``[n, *shape]``, positions ``[n, P]``, pointers ``[U + 1]``.
    sample, offset
        Sample of each unit ``[U]``, and its place in the order relative to that sample.
    edges
        Per relation: ``index`` ``[2, E]``.
    tasks
        Names of the T tasks.
    targets
        Labels per task, ``[B]`` or ``[B, d]``.
    masks
        Which labels exist, bool ``[B, T]``.
    has_context
        Whether the schema gives samples context.
    """

    rows: Tensor
    nodes: Mapping[str, NodeLayout]
    sample: Tensor
    offset: Tensor
    edges: Mapping[EdgeType, Edges]
    tasks: tuple[str, ...]
    targets: Mapping[str, Tensor]
    masks: Tensor
    has_context: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def node_sample(self, modality: str) -> Tensor:
        """Sample of each node of the modality, ``[n]``."""
        return self.sample[self.nodes[modality].unit]

    def node_offset(self, modality: str) -> Tensor:
        """Context offset of each node of the modality, ``[n]``; 0 for the sample's own."""
        return self.offset[self.nodes[modality].unit]

    def present(self) -> Tensor:
        """Which modalities each sample itself has, bool ``[B, M]``."""
        columns = []
        for nodes in self.nodes.values():
            own = (self.offset == 0) & (nodes.ptr.diff() > 0)
            column = torch.zeros(len(self), dtype=torch.bool, device=own.device)
            column[self.sample[own]] = True
            columns.append(column)
        return torch.stack(columns, 1)

    def only(self, *tasks: str) -> GraphBatch:
        """The same samples with these of their tasks alone: their nodes, edges and labels."""
        places = [self.tasks.index(task) for task in tasks]
        return replace(
            self,
            edges={kind: self._edges_of(places, kind, found) for kind, found in self.edges.items()},
            tasks=tasks,
            targets={name: self.targets[name] for name in tasks},
            masks=self.masks[:, places],
        )

    def _edges_of(self, places: list[int], kind: EdgeType, found: Edges) -> Edges:
        """Edges that neither leave nor reach other tasks than those; their nodes counted anew."""
        index, count = found.index, len(self.tasks)
        ends = [end for end, name in enumerate((kind[0], kind[2])) if name == TASK]
        if not ends or places == list(range(count)):
            return found
        place = torch.full((count,), -1, device=index.device)
        place[places] = torch.arange(len(places), device=index.device)
        kept = (place[index[ends] % count] >= 0).all(0)
        index = index[:, kept]
        index[ends] = index[ends] // count * len(places) + place[index[ends] % count]
        return Edges(index, None if found.attr is None else found.attr[kept])

    def to(self, device: torch.device | str) -> GraphBatch:
        """The same batch with every tensor on the device."""
        return _to(self, device)

    def to_pyg(self) -> Any:
        """A PyG ``Batch`` of ``HeteroData``; see `gnnfusion.graphs.interop`."""
        from gnnfusion.graphs.interop import batch_to_pyg

        return batch_to_pyg(self)


def topology_of(store: GraphStore) -> Topology:
    """The store's wiring: its schema's rules, or the defaults for its modalities' kinds."""
    if store.schema.topology is not None:
        return Topology(store.schema.topology)
    specs = {name: store.spec(name) for name in store.schema.modality_names}
    rules = default_rules(store.schema, specs)
    return Topology(rules + ([{"given": {}}] if store.given_types else []))


def make_batch(
    store: GraphStore, rows: Tensor, topology: Topology, without: Tensor | None = None
) -> GraphBatch:
    """Gather samples (and their context) into one batch; no Python runs per sample.

    Parameters
    ----------
    store
        Where the samples are.
    rows
        Store rows ``[B]``, in any order.
    topology
        How to wire them.
    without
        Modalities to leave out of samples and their context, bool ``[B, M]``; the result is as if
        the samples lacked them.
    """
    unit_row, sample, offset = store.units(rows)
    names = store.schema.modality_names
    nodes = {}
    # Per unit, since a modality that is left out of a sample is left out of its context, too.
    gone = {} if without is None else {n: without[sample, m] for m, n in enumerate(names)}
    if store.schema.context is not None:
        for name in set(names) - set(store.schema.context.modalities or names):
            gone[name] = gone.get(name, False) | (offset != 0)
    for name in names:
        packed = store.nodes(name)
        start, counts = packed.ptr[unit_row], packed.ptr[unit_row + 1] - packed.ptr[unit_row]
        if name in gone:
            counts = counts.masked_fill(gone[name], 0)
        index = ranges(start, counts)
        nodes[name] = NodeLayout(packed.x[index], packed.pos[index], pointers(counts), packed.spec)
    layout = Layout(
        nodes=nodes,
        sample=sample,
        offset=offset,
        samples=len(rows),
        tasks=len(store.schema.tasks),
        has_context=store.schema.context is not None,
        given={kind: _given(store, kind, unit_row, nodes, gone) for kind in store.given_types},
    )
    return GraphBatch(
        rows=rows,
        nodes=nodes,
        sample=sample,
        offset=offset,
        edges=topology.edges(layout),
        tasks=store.schema.task_names,
        targets={t: store.target(t)[rows] for t in store.schema.task_names},
        masks=store.masks[rows],
        has_context=layout.has_context,
    )


def _given(
    store: GraphStore,
    kind: EdgeType,
    rows: Tensor,
    nodes: Mapping[str, NodeLayout],
    gone: Mapping[str, Tensor],
) -> Edges:
    name = "/".join(kind)
    ptr = store.tensors[f"edgeptr/{name}"]
    counts = ptr[rows + 1] - ptr[rows]
    for end in (kind[0], kind[2]):
        if end in gone:
            counts = counts.masked_fill(gone[end], 0)
    chosen = ranges(ptr[rows], counts)
    index = store.tensors[f"edge/{name}"][:, chosen].long()
    shift = torch.stack([nodes[kind[0]].ptr[:-1], nodes[kind[2]].ptr[:-1]])
    index = index + torch.repeat_interleave(shift, counts, dim=1)
    attr = f"edgeattr/{name}"
    return Edges(index, store.tensors[attr][chosen] if attr in store.tensors else None)


def _to(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _to(item, device) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        moved = {f.name: _to(getattr(value, f.name), device) for f in fields(value)}
        return replace(value, **moved)
    return value
