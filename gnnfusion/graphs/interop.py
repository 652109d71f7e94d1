"""To and from the graphs of other libraries: PyG ``HeteroData`` and networkx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch, HeteroData

from gnnfusion.errors import DataError
from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.batch import GraphBatch, make_batch, topology_of
from gnnfusion.graphs.index import pack_ids, pointers
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.topology import TASK, Topology
from gnnfusion.schema import Modality, Schema


def batch_to_pyg(batch: GraphBatch) -> Batch:
    """A PyG ``Batch`` on which any PyG hetero model runs, and whose ``to_data_list`` works.

    Node types are the modalities (``x``, ``pos`` where nodes have positions, and ``offset`` where
    there is context) and, where there are tasks, ``task`` (``x`` = index of the task); labels are
    graph attributes ``y_T`` and ``mask_T``.
    """
    count, tasks = len(batch), len(batch.tasks)
    data = Batch(_base_cls=HeteroData)
    slices: dict[Any, Any] = {}
    increments: dict[Any, Any] = {}
    node_ptr: dict[str, Tensor] = {}
    for name, nodes in batch.nodes.items():
        owner = batch.node_sample(name)
        ptr = pointers(torch.bincount(owner, minlength=count))
        values = {"x": nodes.x}
        if nodes.spec.position:
            values["pos"] = nodes.pos
        if batch.has_context:
            values["offset"] = batch.node_offset(name)
        _fill(data[name], values, owner, ptr, slices, increments, name)
        node_ptr[name] = ptr
    ptr = torch.arange(count + 1, device=batch.rows.device) * tasks
    index = torch.arange(tasks, device=batch.rows.device).repeat(count)
    owner = torch.repeat_interleave(torch.arange(count, device=ptr.device), tasks)
    if tasks or any(TASK in kind for kind in batch.edges):
        _fill(data[TASK], {"x": index}, owner, ptr, slices, increments, TASK)
    node_ptr[TASK] = ptr
    for kind, edges in batch.edges.items():
        store = data[kind]
        # PyG cuts each graph's edges as one range, so edges are sorted by sample.
        owner = torch.bucketize(edges.index[1].contiguous(), node_ptr[kind[2]][1:], right=True)
        order = torch.argsort(owner, stable=True)
        store["edge_index"] = edges.index[:, order]
        ptr = pointers(torch.bincount(owner, minlength=count))
        shift = torch.stack([node_ptr[kind[0]][:-1], node_ptr[kind[2]][:-1]], 1).unsqueeze(2)
        slices[kind] = {"edge_index": ptr.cpu()}
        increments[kind] = {"edge_index": shift}
        if edges.attr is not None:
            store["edge_attr"] = edges.attr[order]
            slices[kind]["edge_attr"], increments[kind]["edge_attr"] = ptr.cpu(), None
    each = torch.arange(count + 1)
    for place, task in enumerate(batch.tasks):
        for key, value in (
            (f"y_{task}", batch.targets[task]),
            (f"mask_{task}", batch.masks[:, place]),
        ):
            data[key] = value
            slices[key], increments[key] = each, torch.zeros(count, dtype=torch.long)
    data._num_graphs = count
    data._slice_dict = slices
    data._inc_dict = increments
    return data


def _fill(
    store: Any,
    values: dict[str, Tensor],
    owner: Tensor,
    ptr: Tensor,
    slices: dict[Any, Any],
    increments: dict[Any, Any],
    name: str,
) -> None:
    slices[name], increments[name] = {}, {}
    for key, value in values.items():
        store[key] = value
        slices[name][key], increments[name][key] = ptr.cpu(), None
    store.batch, store.ptr = owner, ptr


def to_data_list(
    store: GraphStore, rows: Tensor | None = None, topology: Topology | None = None
) -> list[HeteroData]:
    """Each sample as a ``HeteroData`` with every node and edge type present, possibly empty."""
    rows = store.rows() if rows is None else rows
    return batch_to_pyg(make_batch(store, rows, topology or topology_of(store))).to_data_list()


def store_from_pyg(graphs: Sequence[HeteroData], ids: Sequence[str] | None = None) -> GraphStore:
    """A store of graphs made elsewhere; a graph may lack any node or edge type.

    PyG's ``Batch.from_data_list`` keeps only the types of the first graph (its issues #7147 and
    #10801); here the union of all is kept, and a type that a graph lacks is empty in it.

    Parameters
    ----------
    graphs
        Node types with ``x`` ``[n, *shape]`` and optionally ``pos`` ``[n, P]``; edge types with
        ``edge_index`` and optionally ``edge_attr``. All graphs are put into the split ``train``.
    ids
        By default the positions in the list.

    Raises
    ------
    DataError
        A graph holds something that the store has no place for; nothing is dropped in silence.
    """
    for place, graph in enumerate(graphs):
        _check_representable(place, graph)
    tensors: dict[str, Tensor] = {
        name: torch.from_numpy(array)
        for name, array in pack_ids(ids or [str(i) for i in range(len(graphs))]).items()
    }
    tensors["split"] = torch.zeros(len(graphs), dtype=torch.uint8)
    modalities: dict[str, Any] = {}
    for name in dict.fromkeys(n for g in graphs for n in g.node_types):
        held = [g[name] if name in g.node_types else None for g in graphs]
        first = next(h for h in held if h is not None)
        shape, dtype = first.x.shape[1:], first.x.dtype
        has_pos = "pos" in first
        counts = torch.tensor([0 if h is None else h.x.shape[0] for h in held])
        tensors[f"x/{name}"] = _concatenate(name, "x", held, shape, dtype)
        tensors[f"ptr/{name}"] = pointers(counts)
        if has_pos:
            tensors[f"pos/{name}"] = _concatenate(name, "pos", held, first.pos.shape[1:], None)
        spec = NodeSpec(
            tuple(shape),
            str(dtype).removeprefix("torch."),
            tuple(f"axis{i}" for i in range(first.pos.shape[1])) if has_pos else (),
        )
        modalities[name] = {"spec": spec.to_dict(), "settings": {}, "state": {}}
    for kind in dict.fromkeys(k for g in graphs for k in g.edge_types):
        held = [g[kind] if kind in g.edge_types else None for g in graphs]
        first = next(h for h in held if h is not None)
        counts = torch.tensor([0 if h is None else h.edge_index.shape[1] for h in held])
        label = "/".join(kind)
        tensors[f"edge/{label}"] = torch.cat([h.edge_index for h in held if h is not None], 1).to(
            torch.int32
        )
        tensors[f"edgeptr/{label}"] = pointers(counts)
        if "edge_attr" in first:
            tensors[f"edgeattr/{label}"] = _concatenate(
                label, "edge_attr", held, first.edge_attr.shape[1:], first.edge_attr.dtype
            )
    schema = Schema(
        table="pyg",
        modalities=tuple(Modality(name=n, kind="array", columns=(n,)) for n in modalities),
        topology=({"given": {}},),
    )
    return GraphStore({"schema": schema.to_dict(), "modalities": modalities, "tasks": {}}, tensors)


def _concatenate(
    name: str, key: str, held: Sequence[Any], shape: torch.Size, dtype: torch.dtype | None
) -> Tensor:
    values = []
    for place, item in enumerate(held):
        if item is None:
            continue
        value = item[key]
        if value.shape[1:] != shape or (dtype is not None and value.dtype != dtype):
            raise DataError(
                f"graph {place}: {key} of {name!r} is {tuple(value.shape[1:])} {value.dtype}, "
                f"elsewhere {tuple(shape)} {dtype}"
            )
        values.append(value)
    return torch.cat(values)


def _check_representable(place: int, graph: HeteroData) -> None:
    for key in graph._global_store.to_dict():
        raise DataError(f"graph {place} has the attribute {key!r}, which a store cannot hold")
    for kinds, known in (
        (graph.node_types, {"x", "pos"}),
        (graph.edge_types, {"edge_index", "edge_attr"}),
    ):
        for kind in kinds:
            extra = set(graph[kind].keys()) - known
            if extra:
                raise DataError(
                    f"graph {place}: {kind!r} has {sorted(extra)[0]!r}, which a store cannot hold"
                )
    for name in graph.node_types:
        if name == TASK or "x" not in graph[name]:
            raise DataError(f"graph {place}: node type {name!r} is reserved or has no x")


def to_networkx(store: GraphStore, row: int, topology: Topology | None = None) -> Any:
    """One sample's graph as a networkx ``MultiDiGraph``.

    Nodes are ``(type, index)`` with attributes ``type``, ``position`` and ``offset``; task nodes
    also carry ``task`` and, where there is one, ``label``. Edges carry ``relation``.
    """
    import networkx as nx

    batch = make_batch(store, torch.tensor([row]), topology or topology_of(store))
    graph = nx.MultiDiGraph(sample=store.ids(batch.rows)[0])
    for name, nodes in batch.nodes.items():
        offsets = batch.node_offset(name).tolist()
        for i, position in enumerate(nodes.pos.tolist()):
            graph.add_node((name, i), type=name, position=position, offset=offsets[i])
    for t, task in enumerate(batch.tasks):
        label = {"label": batch.targets[task][0].tolist()} if batch.masks[0, t] else {}
        graph.add_node((TASK, t), type=TASK, task=task, **label)
    for (source, relation, target), edges in batch.edges.items():
        for a, b in edges.index.T.tolist():
            graph.add_edge((source, a), (target, b), relation=relation)
    return graph
