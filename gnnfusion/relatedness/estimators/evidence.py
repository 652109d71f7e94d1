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
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evaluate import loss_table, losses_of, outputs
from gnnfusion.training.evidence import kin_matrix, only_shown

DRAWS = 2000
FLIPS = 10_000  # the least p-value is 1 / FLIPS: 90 pairs (10 tasks) stay testable after adjustment


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
    sizes = np.zeros((count, count), dtype=int)
    for i in range(count):
        shown = outputs(network, told or store, rows, partial(only_shown, task=i))
        after = losses_of(network, store, rows, shown)
        for j in range(count):
            both = masks[:, i] & masks[:, j]
            sizes[i, j] = both.sum()
            if i == j or kin[i, j] or sizes[i, j] < 2:
                continue
            rng = np.random.default_rng([seed, i, j])
            result = paired_gain(base[both, j], after[both, j], rng)
            value[i, j], low[i, j], high[i, j], p_value[i, j] = result
    return TaskGraph(
        tasks=tasks,
        method="evidence",
        question="label i informs j beyond the features",
        value=value,
        low=low,
        high=high,
        p_value=p_value,
        n=sizes,
        derived=kin & ~np.eye(count, dtype=bool),
    )


def paired_gain(
    before: np.ndarray, after: np.ndarray, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Relative fall of the mean loss, its 95 % bootstrap interval, and a one-sided p-value."""
    total = before.mean()
    difference = before - after
    picks = rng.integers(0, len(before), (DRAWS, len(before)))
    drawn = difference[picks].mean(1) / np.maximum(before[picks].mean(1), 1e-12)
    signs = rng.integers(0, 2, (FLIPS, len(before)), dtype=np.int8)
    # Signs are 2 b - 1, so the sum of flipped differences is 2 b.d - sum(d).
    null = (2 * (signs @ difference) - difference.sum()) / len(before)
    p_value = (1 + (null >= difference.mean() - 1e-15).sum()) / (FLIPS + 1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(difference.mean() / max(total, 1e-12)), float(low), float(high), float(p_value)
