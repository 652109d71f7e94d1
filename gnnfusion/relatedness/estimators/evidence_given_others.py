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

Cost: of T tasks 1.5 T (T - 1) passes over the samples and some (more where tasks have kin), for
which their modalities are encoded twice: several times that of ``evidence``. All rows are passed
through, though a pair is measured on those that have both labels.
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
from gnnfusion.training.evaluate import Pass, goals_of, losses_of, outputs_of_passes
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
    goals = goals_of(network, store, rows)
    pairs = [(i, j) for i, j in (~kin).nonzero().tolist() if (masks[:, i] & masks[:, j]).sum() > 1]
    others = [~(kin[i] | kin[j]) for i, j in pairs]
    and_source = [o | (torch.arange(count) == i) for o, (i, _) in zip(others, pairs, strict=True)]
    none = torch.zeros(count, dtype=torch.bool)
    # Many pairs have the same others, so what is shown is seen once.
    shows = {_key(shown): shown for shown in (none, *others, *and_source)}
    passes = [Pass(shown=shown.logical_and) for shown in shows.values()]
    seen = dict(zip(shows, outputs_of_passes(network, store, rows, passes), strict=True))
    nothing = losses_of(network, store, rows, seen[_key(none)])
    draws = []
    for (i, j), shown in zip(pairs, others, strict=True):
        there = torch.from_numpy(masks[:, i] & masks[:, j])
        known = [goals[tasks[t]] for t in shown.nonzero().flatten().tolist()]
        telling = torch.cat([seen[_key(shown)][tasks[i]], *known], 1)[there]
        draws.append(draw_labels(store, rows[there], {tasks[i]: telling}, rng))
    passes = [
        Pass(shown=shown.logical_and, told=told, tasks=[tasks[j]])
        for (_, j), shown, told in zip(pairs, and_source, draws, strict=True)
    ]
    out_drawn = outputs_of_passes(network, store, rows, passes)
    without, knowing, drawn = (np.full((len(rows), len(pairs)), np.nan) for _ in range(3))
    for place, (i, j) in enumerate(pairs):
        both, target = masks[:, i] & masks[:, j], tasks[j]
        for column, out in (
            (without, seen[_key(others[place])]),
            (knowing, seen[_key(and_source[place])]),
            (drawn, out_drawn[place]),
        ):
            losses = losses_of(network, store, rows, {target: out[target]})[:, 0]
            column[both, place] = losses[both]
    scale = nothing[:, [j for _, j in pairs]]
    gains = paired_gains(without, knowing, rng, scale)
    results = (*gains, flip_tests(drawn, knowing, rng))
    matrices = [np.full((count, count), np.nan) for _ in results]
    for matrix, each in zip(matrices, results, strict=True):
        for (i, j), number in zip(pairs, each, strict=True):
            matrix[i, j] = number
    value, low, high, p_value = matrices
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
        one_sided=True,
        unit="share of j's loss with nothing known",
        notes=(BEYOND,),
    )


def _key(shown: Tensor) -> bytes:
    """Which tasks' labels are shown, bool ``[T]``, as a key."""
    return shown.numpy().tobytes()
