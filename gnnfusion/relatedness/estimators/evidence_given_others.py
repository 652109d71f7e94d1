r"""How much knowing label i tells about task j when the other labels are known as well.

.. math:: v_{ij} = \frac{\bar\ell_j(O) - \bar\ell_j(O \cup \{i\})}{\bar\ell_j(\emptyset)}

with :math:`\bar\ell_j(S)` the mean loss of task j on held-out samples that have the labels of both,
when those of the labels in S that they have are shown to the network, and O all tasks but i, j and
the kin of either: what is computed from i would tell of it already, and what is computed from j
must not be shown where j is scored. It is a share of the loss with nothing known, as ``evidence``
is, so the two can be compared: in a chain a, b, c of labels, a informs c alone, but not given b.

Question: label i informs j beyond the features, and beyond the other labels. Null: given the
features and O, label i tells nothing of label j. As in ``evidence`` the p-value is of the fall of
the loss against a label drawn in place of i (`draw_labels`): a one-sided sign-flip test of the
paired differences. Here it is drawn from what the network predicts for task i with O shown, and
linearly from the labels in O themselves; for what the network makes too little of would be left in
the true label and not in the drawn one. The test holds as far as i is predicted rightly from these.
Intervals are percentile bootstraps over samples.

Cost: of T tasks T (T - 1) passes over the samples with both labels, and T (T + 1) / 2 over all
(more where tasks have kin): several times that of ``evidence``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.estimators import BEYOND, INFORMS
from gnnfusion.relatedness.estimators.evidence import draw_labels
from gnnfusion.relatedness.paired import flip_tests, paired_gains
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evaluate import goals_of, loss_table, losses_of, outputs
from gnnfusion.training.evidence import kin_matrix


def estimate(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """Evidence given the other labels of every ordered pair of tasks on `rows`.

    Parameters
    ----------
    network, store, rows
        What is measured.
    seed
        Of the labels drawn, the bootstrap and the flips of signs.
    """
    tasks, rng = store.schema.task_names, np.random.default_rng(seed)
    kin, masks, count = kin_matrix(store.schema), store.masks[rows].numpy(), len(tasks)
    nothing, goals = loss_table(network, store, rows), goals_of(network, store, rows)
    found: dict[bytes, dict[str, Tensor]] = {}

    def showing(shown: Tensor) -> dict[str, Tensor]:
        """Outputs on all rows with the labels of these tasks ``[T]`` shown, computed once."""
        key = shown.numpy().tobytes()
        if key not in found:
            found[key] = outputs(network, store, rows, shown.logical_and)
        return found[key]

    pairs = [(i, j) for i, j in (~kin).nonzero().tolist() if (masks[:, i] & masks[:, j]).sum() > 1]
    without, knowing, drawn = (np.full((len(rows), len(pairs)), np.nan) for _ in range(3))
    for place, (i, j) in enumerate(pairs):
        both = masks[:, i] & masks[:, j]
        some, there = rows[both], torch.from_numpy(both)
        others = ~(kin[i] | kin[j])
        and_source = others.clone()
        and_source[i] = True
        out_without = showing(others)
        known = [goals[tasks[t]] for t in others.nonzero().flatten().tolist()]
        telling = torch.cat([out_without[tasks[i]], *known], 1)[there]
        told = draw_labels(store, some, {tasks[i]: telling}, rng)
        out_drawn = outputs(network, told, some, and_source.logical_and)
        for column, out in (
            (without, out_without[tasks[j]][there]),
            (knowing, showing(and_source)[tasks[j]][there]),
            (drawn, out_drawn[tasks[j]]),
        ):
            column[both, place] = losses_of(network, store, some, {tasks[j]: out})[:, 0]
    scale = nothing[:, [j for _, j in pairs]]
    gains = paired_gains(without, knowing, rng, scale)
    results = (*gains, flip_tests(drawn, knowing, rng))
    matrices = [np.full((count, count), np.nan) for _ in results]
    for matrix, each in zip(matrices, results, strict=True):
        for (i, j), number in zip(pairs, each, strict=True):
            matrix[i, j] = number
    value, low, high, p_value = matrices
    p_value[value <= 0] = 1.0  # as in evidence
    return TaskGraph(
        tasks=tasks,
        method="evidence_given_others",
        question=INFORMS,
        value=value,
        low=low,
        high=high,
        p_value=p_value,
        n=masks.T.astype(int) @ masks.astype(int),
        derived=kin.numpy() & ~np.eye(count, dtype=bool),
        unit="share of j's loss with nothing known",
        notes=(BEYOND,),
    )
