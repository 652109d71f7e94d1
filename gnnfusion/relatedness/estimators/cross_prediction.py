r"""How well what the network makes of a sample for one task tells the label of another.

With :math:`E_i` ``[n, a]`` what the network expects of task i (probabilities, standardized values,
at each threshold of an ordinal task the chance to lie above) and :math:`Y_j` ``[n, b]`` the labels
of task j in the same form, both centred over the n held-out rows that have label j, their linear
alignment is, as in `cka_matrix`,

.. math:: a_{ij} = \frac{\lVert E_i^\top Y_j \rVert_F^2}
                        {\lVert E_i^\top E_i \rVert_F \lVert Y_j^\top Y_j \rVert_F}

for single outputs the squared correlation, and the value is the mean of :math:`a_{ij}` and
:math:`a_{ji}`; where one of the two has no labels, the other alone.

Question: training with i helps j. That a source model's outputs tell the target's labels is how
transfer is foreseen without training (LEEP: Nguyen et al., arXiv:2002.12462, there by an empirical
conditional distribution). Unlike ``labels`` it needs no row with both, and unlike ``cka`` it does
not take errors that two heads share for likeness. Null: none, since unrelated tasks may read the
same features. Intervals, over rows: `intervals.square_interval`. Cost: one forward pass.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.nn.readout import Head
from gnnfusion.relatedness.agreement import known_mean
from gnnfusion.relatedness.alignment import aligned, aligned_without
from gnnfusion.relatedness.estimators.representation import graph_of_likeness
from gnnfusion.relatedness.intervals import square_interval
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evaluate import goals_of, outputs

FEWEST = 8


def estimate(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """Alignment of outputs and labels of every pair of tasks on `rows`; nothing is drawn."""
    masks = store.masks[rows].numpy()
    expected = [
        _expected(network.head(task), out).double().numpy()
        for task, out in outputs(network, store, rows).items()
    ]
    labels = [goal.numpy() for goal in goals_of(network, store, rows).values()]
    value = alignment(expected, labels, masks)
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    for i, j in zip(*np.isfinite(value).nonzero(), strict=True):
        both = [_without(expected[a], labels[b], masks[:, b]) for a, b in ((i, j), (j, i))]
        low[i, j], high[i, j] = square_interval(value[i, j], known_mean(np.stack(both)))
    return graph_of_likeness(
        "cross_prediction", value, low, high, store,
        (masks[:, :, None] | masks[:, None, :]).sum(0), "alignment of outputs with labels",
        "n counts rows with either label",
    )  # fmt: skip


def _without(expected: np.ndarray, label: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Alignment of expectations ``[n, a]`` and labels ``[n, b]`` without each row, ``[n]``.

    A row without a label changes nothing; NaN where there is no direction.
    """
    known = there.sum() >= FEWEST
    found = np.full(len(there), aligned(expected[there], label[there]) if known else np.nan)
    if np.isfinite(found).all():
        found[there] = aligned_without(expected[there], label[there])
    return found


def alignment(
    expected: list[np.ndarray], labels: list[np.ndarray], masks: np.ndarray
) -> np.ndarray:
    """Mean alignment ``[T, T]`` of expectations ``[n, K_t]`` and labels ``[n, K_t]`` of T tasks.

    Parameters
    ----------
    expected, labels
        By task.
    masks
        Which labels there are, bool ``[n, T]``; a task with fewer than `FEWEST` has no direction.
    """
    count = len(expected)
    one_way = np.full((count, count), np.nan)
    stacked = np.concatenate(expected, axis=1)
    starts = np.cumsum([0, *(e.shape[1] for e in expected[:-1])])
    for j in range(count):
        there = masks[:, j]
        if there.sum() < FEWEST:
            continue
        e, y = stacked[there] - stacked[there].mean(0), labels[j][there] - labels[j][there].mean(0)
        within = np.add.reduceat(np.square(e.T @ e), starts, axis=0)
        own = np.sqrt(np.add.reduceat(within, starts, axis=1).diagonal())
        scale = own * np.linalg.norm(y.T @ y)
        between = np.add.reduceat(np.square(e.T @ y).sum(1), starts)
        one_way[:, j] = between / np.where(scale > 0, scale, np.nan)
    return known_mean(np.stack([one_way, one_way.T]))


def _expected(head: Head, out: Tensor) -> Tensor:
    """What the outputs ``[n, K]`` say of `label_goal`."""
    if head.kind == "regression":
        return out
    return out.softmax(1) if head.kind == "multiclass" else out.sigmoid()
