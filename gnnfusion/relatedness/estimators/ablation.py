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
for attention rather than a finding. Null: cutting changes nothing (one-sided sign-flip test over
rows). Intervals are bootstraps over rows. Cost: T (T - 1), or T, passes over the held-out rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from gnnfusion.errors import UsageError
from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.topology import TASK, Edges
from gnnfusion.nn.fusion.graph import GraphFusion
from gnnfusion.nn.network import RELATES, FusionNetwork, SharedNetwork
from gnnfusion.relatedness.estimators import INFORMS
from gnnfusion.relatedness.estimators.evidence import paired_gain
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evaluate import loss_table
from gnnfusion.training.evidence import kin_matrix


def estimate(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """Loss that cutting the messages from i to j costs j."""
    _check(network)
    tasks = range(len(store.schema.tasks))

    def losses(i: int, j: int) -> np.ndarray:
        with cut(network, i, j):
            return loss_table(network, store, rows)[:, j]

    cuts = {(i, j): losses(i, j) for i in tasks for j in tasks if i != j}
    return _graph("ablation", network, store, rows, seed, cuts)


def estimate_ablation_total(
    network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int
) -> TaskGraph:
    """Loss that cutting i off from everything costs j."""
    _check(network)
    tasks = range(len(store.schema.tasks))
    table: dict[tuple[int, int], np.ndarray] = {}
    for i in tasks:
        with cut(network, i):
            found = loss_table(network, store, rows)
        table |= {(i, j): found[:, j] for j in tasks if j != i}
    return _graph("ablation_total", network, store, rows, seed, table)


@contextmanager
def cut(network: FusionNetwork, source: int, target: int | None = None) -> Iterator[None]:
    """Within the block, no message goes from one task node to another, or to anything."""

    def without(module: object, args: tuple[Any, ...]) -> tuple[Any, ...]:
        batch: GraphBatch = args[0]
        count = len(batch.tasks)
        edges = {}
        for kind, these in batch.edges.items():
            if kind[0] == TASK and (target is None or kind == RELATES):
                out = these.index[0] % count == source
                if target is not None:
                    out &= these.index[1] % count == target
                attr = None if these.attr is None else these.attr[~out]
                these = Edges(these.index[:, ~out], attr)
            edges[kind] = these
        return (replace(batch, edges=edges), *args[1:])

    handle = network.register_forward_pre_hook(without)
    try:
        yield
    finally:
        handle.remove()


def _check(network: FusionNetwork) -> None:
    graph = isinstance(network, SharedNetwork) and isinstance(network.fusion, GraphFusion)
    if not (graph and network.reads_labels):
        raise UsageError(
            f"the fusion {network.config.fusion!r} with the sharing {network.config.sharing!r} "
            "passes no messages along edges between tasks, so there are none to cut; use --method "
            "residuals, or train with a graph fusion such as gatv2"
        )


def _graph(
    method: str,
    network: FusionNetwork,
    store: GraphStore,
    rows: Tensor,
    seed: int,
    cuts: Mapping[tuple[int, int], np.ndarray],
) -> TaskGraph:
    base = loss_table(network, store, rows)
    kin = kin_matrix(store.schema).numpy()
    count = len(kin)
    value, low, high, p_value = (np.full((count, count), np.nan) for _ in range(4))
    sizes = np.zeros((count, count), dtype=int)
    for (i, j), after in cuts.items():
        known = np.isfinite(base[:, j])
        sizes[i, j] = known.sum()
        if kin[i, j] or sizes[i, j] < 2:
            continue
        rng = np.random.default_rng([seed, i, j])
        gain, least, most, p_value[i, j] = paired_gain(after[known], base[known, j], rng)
        # `paired_gain` is relative to the loss with the cut, the value here to that without.
        value[i, j], low[i, j], high[i, j] = (g / (1 - g) for g in (gain, least, most))
    return TaskGraph(
        tasks=store.schema.task_names,
        method=method,
        question=INFORMS,
        value=value,
        low=low,
        high=high,
        p_value=p_value,
        n=sizes,
        derived=kin & ~np.eye(count, dtype=bool),
        unit="share of j's loss",
    )
