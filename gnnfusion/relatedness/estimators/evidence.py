r"""How much knowing label i tells about task j beyond the features.

.. math:: v_{ij} = \frac{\bar\ell_j(\emptyset) - \bar\ell_j(\{i\})}{\bar\ell_j(\emptyset)}

with :math:`\bar\ell_j(S)` the mean loss of task j on held-out samples that have both labels, when
the labels in S are shown to the network. Intervals are percentile bootstraps over samples; p-values
are one-sided sign-flip tests of the paired differences.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from torch import Tensor

from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.paired import paired_gains
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evaluate import loss_table, losses_of, outputs
from gnnfusion.training.evidence import kin_matrix, only_shown


def estimate(
    network: FusionNetwork,
    store: GraphStore,
    rows: Tensor,
    seed: int,
    told: GraphStore | None = None,
) -> TaskGraph:
    """Evidence of every ordered pair of tasks on `rows`.

    Parameters
    ----------
    network, store, rows
        What is measured; the store's labels are those that are scored.
    seed
        Of the bootstrap and the flips of signs.
    told
        The same samples with the labels that are shown; the store's own by default.
    """
    tasks = store.schema.task_names
    kin = kin_matrix(store.schema).numpy()
    masks = store.masks[rows].numpy()
    base = loss_table(network, store, rows)
    count = len(tasks)
    value, low, high, p_value = (np.full((count, count), np.nan) for _ in range(4))
    after = np.stack([
        losses_of(network, store, rows, outputs(network, told or store, rows,
                                                partial(only_shown, task=i)))
        for i in range(count)
    ])  # fmt: skip
    both = masks.T[:, :, None] & masks  # [i, n, j]
    sources, targets = (~kin).nonzero()
    pairs = both[sources, :, targets].T
    results = paired_gains(
        np.where(pairs, base[:, targets], np.nan), after[sources, :, targets].T,
        np.random.default_rng(seed),
    )  # fmt: skip
    for matrix, found in zip((value, low, high, p_value), results, strict=True):
        matrix[sources, targets] = found
    return TaskGraph(
        tasks=tasks,
        method="evidence",
        question="label i informs j beyond the features",
        value=value,
        low=low,
        high=high,
        p_value=p_value,
        n=both.sum(1),
        derived=kin & ~np.eye(count, dtype=bool),
    )
