r"""What task j loses when it can no longer hear of task i.

``ablation``
    The messages along the edges ``relates`` from task node i to task node j are cut.
``ablation_total``
    All edges out of task node i are cut, to tasks and modalities, so that i reaches j on no path.

.. math:: v_{ij} = \frac{\bar\ell_j(\text{cut}) - \bar\ell_j}{\bar\ell_j}

on held-out rows with nothing known. An edge that is not there is exactly 0. Operators that average
over neighbours (attention, GraphSAGE) share the weight of a cut edge among the others.

Question: label i informs j beyond the features; but what is cut is whatever the node carries, and
with no label known that is made of the same features that j reads for itself. So it is a control
for attention, and never a finding. Null: none. That cutting changes nothing is false of any network
that has learned to listen, also of one trained on labels that are noise, where a test of it finds
edges far too often. Intervals are bootstraps over rows. Cost: T (T - 1) passes over at most `MOST`
of the held-out rows, or T over all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnfusion.errors import UsageError
from gnnfusion.graphs.batch import GraphBatch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.topology import TASK, Edges, EdgeType
from gnnfusion.nn.fusion.graph import GraphFusion
from gnnfusion.nn.network import RELATES, FusionNetwork, SharedNetwork
from gnnfusion.relatedness.estimators import INFORMS
from gnnfusion.relatedness.paired import as_rise, paired_gains
from gnnfusion.relatedness.resampling import some_rows
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evaluate import Pass, losses_of_passes
from gnnfusion.training.evidence import kin_matrix

MOST = 100


def estimate(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """Loss that cutting the messages from i to j costs j."""
    _check(network)
    names = store.schema.task_names
    rows = some_rows(rows, MOST, np.random.default_rng(seed))
    pairs = [(i, j) for i in range(len(names)) for j in range(len(names)) if i != j]
    passes = [Pass(within=partial(cut, network, i, j), tasks=[names[j]]) for i, j in pairs]
    base, *found = losses_of_passes(network, store, rows, [Pass(), *passes])
    cuts = {pair: losses[:, 0] for pair, losses in zip(pairs, found, strict=True)}
    return _graph("ablation", store, seed, base, cuts)


def estimate_ablation_total(
    network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int
) -> TaskGraph:
    """Loss that cutting i off from everything costs j."""
    _check(network)
    base, *found = _cut_off(network, store, rows)
    tasks = range(len(found))
    table = {(i, j): found[i][:, j] for i in tasks for j in tasks if j != i}
    return _graph("ablation_total", store, seed, base, table)


def total_rise(network: FusionNetwork, store: GraphStore, rows: Tensor) -> np.ndarray:
    """The values of `estimate_ablation_total` alone ``[T, T]``, without intervals."""
    _check(network)
    known = store.masks[rows].numpy()
    base, *after = (losses.mean(0, where=known) for losses in _cut_off(network, store, rows))
    found = (np.stack(after) - base) / base
    return np.where(kin_matrix(store.schema).numpy(), np.nan, found)


def _cut_off(network: FusionNetwork, store: GraphStore, rows: Tensor) -> list[np.ndarray]:
    """Losses ``[n, T]`` as they are, then with each task cut off from everything."""
    passes = [Pass(within=partial(cut, network, i)) for i in range(len(store.schema.tasks))]
    return losses_of_passes(network, store, rows, [Pass(), *passes])


@contextmanager
def cut(network: FusionNetwork, source: int, target: int | None = None) -> Iterator[None]:
    """Within the block, no message goes from one task node to another, or to anything."""
    if target is None:
        with _without(network, lambda kind, i, j: i == source if kind[0] == TASK else None):
            yield
    else:
        count = len(network.schema.tasks)
        pairs = np.zeros((count, count), dtype=bool)
        pairs[source, target] = True
        with cut_pairs(network, pairs):
            yield


@contextmanager
def cut_pairs(network: FusionNetwork, pairs: np.ndarray) -> Iterator[None]:
    """Within the block, no message goes from task node i to j where ``pairs[i, j]``."""
    lost = torch.as_tensor(pairs)
    with _without(network, lambda kind, i, j: lost.to(i.device)[i, j] if kind == RELATES else None):
        yield


Gone = Callable[[EdgeType, Tensor, Tensor], Tensor | None]


@contextmanager
def _without(network: FusionNetwork, gone: Gone) -> Iterator[None]:
    """Within the block, batches lack the edges ``[E]`` that `gone` marks; of None, they lose none.

    It is asked with the relation and the places of the tasks at both ends, which mean nothing where
    an end is no task node.
    """

    def without(module: object, args: tuple[Any, ...]) -> tuple[Any, ...]:
        batch: GraphBatch = args[0]
        count = len(batch.tasks)
        edges = {}
        for kind, these in batch.edges.items():
            out = gone(kind, these.index[0] % count, these.index[1] % count)
            if out is not None:
                attr = None if these.attr is None else these.attr[~out]
                these = Edges(these.index[:, ~out], attr)
            edges[kind] = these
        return (replace(batch, edges=edges), *args[1:])

    handle = network.register_forward_pre_hook(without)
    try:
        yield
    finally:
        handle.remove()


def relates(network: FusionNetwork, store: GraphStore) -> bool:
    """Whether messages go along edges from task node to task node."""
    return _has_task_edges(network) and has_relates(store)


def _has_task_edges(network: FusionNetwork) -> bool:
    """Whether its task nodes take messages along the edges of a batch."""
    graph = isinstance(network, SharedNetwork) and isinstance(network.fusion, GraphFusion)
    return graph and network.reads_labels


def has_relates(store: GraphStore) -> bool:
    """Whether the topology joins task nodes."""
    specs = {m: store.spec(m) for m in store.schema.modality_names}
    context = store.schema.context is not None
    kinds = topology_of(store).types(specs, len(store.schema.tasks), context, store.given_types)
    return RELATES in kinds


def _check(network: FusionNetwork) -> None:
    if not _has_task_edges(network):
        raise UsageError(
            f"the fusion {network.config.fusion!r} with the sharing {network.config.sharing!r} "
            "passes no messages along edges between tasks, so there are none to cut; use --method "
            "residuals, or train with a graph fusion such as gatv2"
        )


def _graph(
    method: str,
    store: GraphStore,
    seed: int,
    base: np.ndarray,
    cuts: Mapping[tuple[int, int], np.ndarray],
) -> TaskGraph:
    kin = kin_matrix(store.schema).numpy()
    count = len(kin)
    value, low, high, none = (np.full((count, count), np.nan) for _ in range(4))
    pairs = [pair for pair in cuts if not kin[pair]]
    targets = [j for _, j in pairs]
    after = np.stack([cuts[pair] for pair in pairs], 1) if pairs else base[:, :0]
    results = paired_gains(after, base[:, targets], np.random.default_rng(seed))
    for (i, j), *ends in zip(pairs, *results, strict=True):
        value[i, j], low[i, j], high[i, j] = map(as_rise, ends)
    return TaskGraph(
        tasks=store.schema.task_names,
        method=method,
        question=INFORMS,
        value=value,
        low=low,
        high=high,
        p_value=none,
        n=np.broadcast_to(np.isfinite(base).sum(0), (count, count)),
        derived=kin & ~np.eye(count, dtype=bool),
        unit="share of j's loss",
    )
