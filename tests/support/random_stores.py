"""Random stores: any schema, any subset of modalities and labels per sample, any topology.

`cases` is a hypothesis strategy of the structure, so that a failing example shrinks to the kinds
and tasks that matter; numbers and gaps follow from one seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from gnnfusion.graphs.arrays import store_from_arrays
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.network import FusionNetwork, network_for
from gnnfusion.schema import Context, Modality, Schema, Task

VOCABULARY = [f"w{i}" for i in range(9)]
COLUMNS: list[dict[str, Any]] = [
    {"kind": "numeric"},
    {"kind": "categorical", "categories": ["a", "b"]},
    {"kind": "numeric"},
]
# kind of node -> kind of modality, encoder ("" is the default)
NODES = {
    "vector": ("array", ""),
    "bytes": ("image", ""),
    "picture": ("audio", ""),
    "window": ("series", ""),
    "columns": ("tabular", ""),
    "tokens": ("text", ""),
    "sentence": ("text", ""),
    "tokens_transformer": ("text", "transformer"),
    "sentence_transformer": ("text", "transformer"),
}
TASKS = ("binary", "multiclass", "multilabel", "ordinal", "regression", "regression2")
AXES = ((), ("index",), ("time",), ("row", "column"))


def make_store(
    nodes: Sequence[str] = ("vector", "bytes", "tokens"),
    tasks: Sequence[str] = ("regression", "binary", "multiclass"),
    samples: int = 8,
    *,
    seed: int = 0,
    axes: Sequence[tuple[str, ...]] | None = None,
    missing: float = 0.4,
    unlabelled: float = 0.4,
    most: int = 3,
    context: Context | None = None,
    derived: Mapping[str, tuple[str, ...]] | None = None,
    topology: Sequence[Mapping[str, Any]] | None = None,
    bonds: bool = False,
    split: np.ndarray | None = None,
) -> GraphStore:
    """A store with modalities ``m0, m1, ...`` and tasks ``t0, t1, ...`` of the kinds named.

    The first sample has nothing at all: no node and no label. `bonds` stores given edges
    ``m0 -bond-> m{last}`` with attributes.
    """
    rng = np.random.default_rng(seed)
    axes = axes or [("index",)] * len(nodes)
    modalities = []
    for i, kind in enumerate(nodes):
        name, encoder = NODES[kind]
        modalities.append(
            Modality(
                name=f"m{i}",
                kind=name,
                columns=("c",),
                encoder={"name": encoder} if encoder else {},
            )
        )
    declared = tuple(
        Task(
            name=f"t{i}",
            kind=kind.removesuffix("2"),
            columns={"multilabel": ("a", "b", "c"), "regression2": ("a", "b")}.get(kind, ("a",)),
            derived_from=(derived or {}).get(f"t{i}", ()),
        )
        for i, kind in enumerate(tasks)
    )
    schema = Schema(
        modalities=tuple(modalities),
        tasks=declared,
        context=context,
        topology=None if topology is None else tuple(topology),
    )
    counts = rng.integers(1, most + 1, (samples, len(nodes)))
    counts[rng.random(counts.shape) < missing] = 0
    counts[0] = 0
    for i, kind in enumerate(nodes):
        if kind == "columns":
            counts[:, i] = np.where(counts[:, i] > 0, len(COLUMNS), 0)
    # One array a modality: the values of a sample do not depend on which others it has.
    values = {
        f"m{i}": [draw_nodes(kind, n, rng) for n in counts[:, i]] for i, kind in enumerate(nodes)
    }
    targets = {f"t{i}": draw_targets(kind, samples, rng) for i, kind in enumerate(tasks)}
    masks = {
        name: (rng.random(samples) >= unlabelled) & (np.arange(samples) > 0) for name in targets
    }
    classes = {
        f"t{i}": [str(c) for c in range({"binary": 2, "multiclass": 3, "ordinal": 4}[kind])]
        for i, kind in enumerate(tasks)
        if kind in ("binary", "multiclass", "ordinal")
    }
    if split is None:
        split = rng.integers(0, 3, samples)
    store = store_from_arrays(schema, values, targets, split=split, masks=masks, classes=classes)
    tensors = dict(store.tensors)
    for i, kind in enumerate(nodes):
        entry = store.meta["modalities"][f"m{i}"]
        if kind == "columns":
            entry["state"] = {"columns": COLUMNS}
        if kind.startswith(("tokens", "sentence")):
            entry["state"] = {"vocabulary": VOCABULARY, "size": len(VOCABULARY) + 2}
        shape = _SHAPES[kind.split("_")[0]]
        entry["spec"].update(shape=list(shape), position=list(axes[i]))
        ptr = tensors[f"ptr/m{i}"]
        total = int(ptr[-1])
        tensors[f"x/m{i}"] = tensors[f"x/m{i}"].reshape(total, *shape)
        tensors[f"pos/m{i}"] = torch.from_numpy(draw_positions(axes[i], ptr.numpy(), rng))
        if not axes[i]:
            del tensors[f"pos/m{i}"]
    if context is not None:
        tensors["context/group"] = torch.from_numpy(rng.integers(0, 2, samples).astype(np.int32))
        tensors["context/order"] = torch.from_numpy(rng.permutation(samples).astype(np.float64))
    if bonds:
        tensors |= draw_bonds(counts[:, 0], counts[:, -1], f"m0/bond/m{len(nodes) - 1}", rng)
    return GraphStore(store.meta, tensors)


_SHAPES: dict[str, tuple[int, ...]] = {
    "vector": (5,), "bytes": (3, 6, 6), "picture": (1, 5, 7), "window": (2, 8), "columns": (3,),
    "tokens": (1,), "sentence": (4,),
}  # fmt: skip


def draw_nodes(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """``[n, *shape]`` of a kind of node."""
    kind = kind.split("_")[0]
    shape = (n, *_SHAPES[kind])
    if kind == "bytes":
        return rng.integers(0, 256, shape).astype(np.uint8)
    if kind == "columns":
        x = np.stack([np.arange(3), rng.normal(size=3), rng.random(3) < 0.3], 1)
        x[1, 1] = rng.integers(0, 3)
        return x[:n].astype(np.float32)
    if kind == "tokens":
        return rng.integers(1, len(VOCABULARY) + 2, shape).astype(np.int32)
    if kind == "sentence":
        x = rng.integers(1, len(VOCABULARY) + 2, shape)
        return np.where(np.arange(4) < rng.integers(0, 5, (n, 1)), x, 0).astype(np.int32)
    return rng.normal(size=shape).astype(np.float32)


def draw_targets(kind: str, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Labels of all samples."""
    if kind == "multilabel":
        return rng.integers(0, 2, (samples, 3))
    if kind.startswith("regression"):
        return 3 + 2 * rng.normal(size=(samples, 2 if kind == "regression2" else 1))
    return rng.integers(0, {"binary": 2, "multiclass": 3, "ordinal": 4}[kind], samples)


def draw_positions(axes: tuple[str, ...], ptr: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions ``[N, P]``: order, times in order, or places in a grid of two columns."""
    index = np.arange(ptr[-1]) - np.repeat(ptr[:-1], np.diff(ptr))
    if axes == ("row", "column"):
        pos = np.stack([index // 2, index % 2], 1)
    elif axes == ("time",):
        # Eighths of a second: sums and differences are exact, so ties are ties.
        pos = (index + rng.integers(0, 8, len(index)) / 8)[:, None]
    else:
        pos = index[:, None][:, : len(axes)]
    return pos.astype(np.float32)


def draw_bonds(
    sources: np.ndarray, targets: np.ndarray, name: str, rng: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Random given edges, some samples without any."""
    index, counts = [], []
    for a, b in zip(sources, targets, strict=True):
        n = int(rng.integers(0, 4)) if a and b else 0
        index.append(np.stack([rng.integers(0, max(a, 1), n), rng.integers(0, max(b, 1), n)]))
        counts.append(n)
    edges = np.concatenate(index, 1).astype(np.int32)
    ptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    attr = rng.normal(size=(edges.shape[1], 2)).astype(np.float32)
    arrays = {f"edge/{name}": edges, f"edgeptr/{name}": ptr, f"edgeattr/{name}": attr}
    return {key: torch.from_numpy(a) for key, a in arrays.items()}


@st.composite
def cases(draw: Any, **fixed: Any) -> GraphStore:
    """A random store; `fixed` settings of `make_store` are kept."""
    nodes = draw(st.lists(st.sampled_from(sorted(NODES)), min_size=1, max_size=3))
    axes = tuple(draw(st.sampled_from(AXES)) for _ in nodes)
    tasks = draw(st.lists(st.sampled_from(TASKS), min_size=1, max_size=4))
    derived = {f"t{len(tasks) - 1}": ("t0",)} if len(tasks) > 2 and draw(st.booleans()) else None
    bonds = draw(st.booleans())
    reach = draw(st.sampled_from([None, (1, 1), (2, 0)]))
    context = (
        None if reach is None else Context(group="g", order="o", before=reach[0], after=reach[1])
    )
    topology = draw(st.one_of(st.none(), rules(nodes, axes, len(tasks), context, bonds)))
    settings: dict[str, Any] = {
        "nodes": nodes,
        "axes": axes,
        "tasks": tasks,
        "derived": derived,
        "context": context,
        "topology": topology,
        "bonds": bonds,
        "samples": draw(st.integers(1, 7)),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "missing": draw(st.sampled_from([0.0, 0.4, 0.8])),
        "unlabelled": draw(st.sampled_from([0.0, 0.4, 1.0])),
    }
    return make_store(**{**settings, **fixed})


def rules(
    nodes: Sequence[str],
    axes: Sequence[tuple[str, ...]],
    tasks: int,
    context: Context | None,
    bonds: bool,
) -> st.SearchStrategy[list[dict[str, Any]]]:
    """A random list of those topology rules that fit the modalities, each at most once."""
    fitting: list[dict[str, Any]] = [{"relates": {}}]
    for i, kind in enumerate(nodes):
        name = f"m{i}"
        fitting += [
            {"temporal": {"modality": name, "window": 2}},
            {"full": {"source": name}},
            {"template": {"modality": name, "edges": [[0, 1]], "size": 2}},
            {"informs": {"modality": name}},
            {"asks": {"modality": name}},
        ]
        if kind == "vector":
            fitting.append({"knn": {"modality": name, "k": 2}})
        if axes[i] == ("row", "column"):
            fitting.append({"spatial": {"modality": name, "neighbourhood": 4}})
        if context is not None:
            fitting.append({"context": {"modality": name}})
    for a, b in itertools.permutations(range(len(nodes)), 2):
        fitting.append({"full": {"source": f"m{a}", "target": f"m{b}"}})
        if axes[a] == axes[b] != ():
            fitting.append({"nearest": {"source": f"m{a}", "target": f"m{b}", "k": 1}})
            fitting.append({"aligned": {"source": f"m{a}", "target": f"m{b}", "tolerance": 0.5}})
    if bonds:
        fitting.append({"given": {}})
    return st.lists(st.sampled_from(fitting), unique_by=str, min_size=1, max_size=8)


def make_network(
    store: GraphStore, *, seed: int = 0, fit: bool = True, **changes: Any
) -> FusionNetwork:
    """A small network for the store in evaluation mode, no parameter of it left at zero."""
    config = replace(NetworkConfig(width=8, layers=2, heads=2, dropout=0.0), **changes)
    torch.manual_seed(seed)
    network = network_for(store, config)
    if fit:
        network.fit_statistics(store, store.rows())
    with torch.no_grad():
        for parameter in network.parameters():
            # Biases begin at zero, where much that is wrong would not show. Single numbers are
            # learned gates, which could close.
            if parameter.ndim:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()
