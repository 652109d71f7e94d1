r"""How much of what the features tell of one label they tell of another, all tasks fitted at once.

With z(x) ``[R]`` the principal axes of what the network's encoders make of a sample, every column o
of the labels (standardized values, indicators of classes, of thresholds of an ordinal task) is
taken for

.. math:: y_o(x) = w_o^\top z(x) + \varepsilon_o, \qquad
          \operatorname{cov}(w_o, w_p) = B_{op} I_R, \qquad \varepsilon_o \sim N(0, \sigma_t^2)

the intrinsic coregionalization model (Goovaerts 1997; multi-task Gaussian processes: Bonilla,
Chai and Williams 2008; review: Álvarez et al., arXiv:1106.6251) with a linear kernel, of each task
on the rows that have its label. B maximizes the marginal likelihood (`STEPS` of EM), which weighs
what each label tells by how surely it does, and lets a third task speak for two. With
:math:`B_{ij}` the block of tasks i and j,

.. math:: v_{ij} = \frac{\lVert B_{ij} \rVert_F^2}
                        {\sqrt{\lVert B_{ii} \rVert_F \lVert B_{jj} \rVert_F}}

For single outputs it is :math:`\rho^2 \sqrt{h_i h_j}`: the squared correlation of what the features
tell of both, times the share of a label's variance that they tell, geometric mean of the two.

Question: training with i helps j. It needs no row with both labels. As it fits readers of its own
to the encoders' outputs, labels of training rows serve it as well; in networks that had learned
their training rows by heart, values of unrelated tasks stayed near 0. Null: none, since unrelated
tasks may read the same features. Intervals: over retraining alone; a new B for every bootstrap
sample would cost more than a training. Cost: the encoders' pass, and `STEPS` inversions of a matrix
of at most `LARGEST` rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnfusion.graphs.batch import GraphBatch, make_batch
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.topology import Topology
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.estimators.representation import graph_of_likeness
from gnnfusion.relatedness.resampling import some_rows
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evaluate import BATCH, goals_of

AXES = 48
LARGEST = 512  # axes times columns of labels: with more columns, fewer axes
STEPS = 20
MOST = 5000  # rows, drawn from more
WIDEST = 1024  # numbers of a modality: those of all its nodes, or, if there were more, their mean
FEWEST = 8
LEAST = 1e-6  # of B and of noise, so that they can be inverted


def estimate(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """Values of every pair of tasks, from those of `rows` that have a label."""
    rows = rows[store.masks[rows].any(1)]
    rows = some_rows(rows, MOST, np.random.default_rng(seed))
    masks = store.masks[rows].numpy()
    goals = [goal.numpy() for goal in goals_of(network, store, rows).values()]
    usable = [t for t in range(len(goals)) if _varies(goals[t], masks[:, t])]
    value = np.full((len(goals), len(goals)), np.nan)
    if usable:
        columns = sum(goals[t].shape[1] for t in usable)
        z = principal_axes(encoded_samples(network, store, rows), min(AXES, LARGEST // columns))
        b, _, sizes = coregionalized(z, [goals[t] for t in usable], masks[:, usable])
        value[np.ix_(usable, usable)] = in_common(b, sizes)
    nothing = np.full_like(value, np.nan)
    return graph_of_likeness(
        "coregionalization", value, nothing, nothing, store,
        (masks[:, :, None] | masks[:, None, :]).sum(0), "share of the labels told in common",
        "n counts rows with either label, training rows among them",
    )  # fmt: skip


def coregionalized(
    z: np.ndarray, goals: Sequence[np.ndarray], masks: np.ndarray, steps: int = STEPS
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    r"""B ``[O, O]`` of the labels' columns; noise and number of columns of each task.

    A step takes the expected weights W ``[O, R]`` and their covariance S under B, and

    .. math:: B \leftarrow (W W^\top + \textstyle\sum_r S_{\cdot r, \cdot r}) / R, \qquad
              \sigma_t^2 \leftarrow \operatorname{mean}\,
              (y - w^\top z)^2 + z^\top S z

    Parameters
    ----------
    z
        Axes ``[n, R]``; taken from their mean over the rows that have the label.
    goals
        Labels of each task ``[n, K_t]``; they are centred and given a total variance of 1.
    masks
        Which labels there are, bool ``[n, T]``.
    steps
        Of EM, none of which lowers the likelihood.
    """
    axes, sizes = z.shape[1], [goal.shape[1] for goal in goals]
    task = np.repeat(np.arange(len(goals)), sizes)
    count, gram, cross = masks.sum(0), np.empty((len(goals), axes, axes)), []
    for t, goal in enumerate(goals):
        x, y = z[masks[:, t]], goal[masks[:, t]]
        x, y = x - x.mean(0), y - y.mean(0)
        gram[t] = x.T @ x
        cross.append(y.T @ x / np.sqrt(np.square(y).sum() / count[t]))
    shared = np.concatenate(cross)
    b, noise = np.diag(0.5 / np.repeat(sizes, sizes)), 0.5 / np.array(sizes)
    diagonal = np.arange(len(task))
    for _ in range(steps):
        precision = np.kron(np.linalg.inv(b), np.eye(axes)).reshape(len(task), axes, -1, axes)
        precision[diagonal, :, diagonal] += (gram / noise[:, None, None])[task]
        spread = np.linalg.inv(precision.reshape(len(task) * axes, -1))
        weights = (spread @ (shared / noise[task][:, None]).ravel()).reshape(-1, axes)
        spread = spread.reshape(len(task), axes, -1, axes)
        b = (weights @ weights.T + np.einsum("orpr->op", spread)) / axes
        b += LEAST * np.eye(len(task))
        second = np.einsum("or,oq->orq", weights, weights) + spread[diagonal, :, diagonal]
        misfit = (gram[task] * second).sum((1, 2)) - 2 * (shared * weights).sum(1)
        noise = (np.bincount(task, misfit) + count) / (count * sizes)
        noise = np.maximum(noise, LEAST)
    return b, noise, sizes


def in_common(b: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Values ``[T, T]`` of B ``[O, O]``, whose columns belong to tasks in order."""
    starts = np.cumsum([0, *sizes[:-1]])
    norms = np.sqrt(np.add.reduceat(np.add.reduceat(np.square(b), starts, 0), starts, 1))
    own = np.sqrt(norms.diagonal())
    found: np.ndarray = np.square(norms) / np.outer(own, own)
    return (found + found.T) / 2  # equal but for rounding


def principal_axes(x: np.ndarray, most: int) -> np.ndarray:
    """At most so many principal axes ``[n, R]`` of ``[n, D]``, of a total variance of 1."""
    from sklearn.utils.extmath import randomized_svd

    u, size, _ = randomized_svd(x - x.mean(0), max(1, min(most, *x.shape)), random_state=0)
    z: np.ndarray = u * size
    return z / np.sqrt(max(np.square(z).sum() / len(z), LEAST))


@torch.no_grad()
def encoded_samples(network: FusionNetwork, store: GraphStore, rows: Tensor) -> np.ndarray:
    """What the encoders make of samples, ``[n, D]``; each modality has a total variance of 1.

    Of a modality all nodes side by side, where each sample has as many and they are not too many
    numbers, else their mean. A missing modality counts as the mean of the others.
    """
    network.eval()
    device = next(network.parameters()).device
    blocks: dict[tuple[str, ...], list[Tensor]] = {}
    counts: dict[str, list[Tensor]] = {m: [] for m in store.schema.modality_names}
    for chosen in rows.split(BATCH):
        batch = make_batch(store, chosen, Topology([])).to(device)
        own = {m: batch.node_offset(m) == 0 for m in counts}  # context is other samples'
        for m, found in counts.items():
            found.append(_nodes_of_each(batch, m, own[m]))
        for path, nodes in _by_path(network.encode_modalities(batch)):
            blocks.setdefault(path, []).append(nodes[own[path[-1]]].float().cpu())
    several = [_of_samples(torch.cat(blocks[p]), torch.cat(counts[p[-1]])) for p in blocks]
    return np.concatenate(several, 1)


def _nodes_of_each(batch: GraphBatch, modality: str, own: Tensor) -> Tensor:
    return torch.bincount(batch.node_sample(modality)[own], minlength=len(batch)).cpu()


def _by_path(encoded: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Node vectors by modality, of networks side by side by network and modality."""
    for name, found in encoded.items():
        if isinstance(found, Mapping):
            yield from (((name, *path), nodes) for path, nodes in _by_path(found))
        else:
            yield (name,), found


def _of_samples(nodes: Tensor, counts: Tensor) -> np.ndarray:
    """One modality's samples ``[n, d]`` from its nodes ``[N, width]`` and how many each has."""
    there = counts > 0
    places = counts[there].unique()
    if len(places) == 1 and int(places) * nodes.shape[1] <= WIDEST:
        found = nodes.reshape(int(there.sum()), -1).double()
    else:
        sample = torch.repeat_interleave(torch.arange(len(counts)), counts)
        total = torch.zeros(len(counts), nodes.shape[1], dtype=torch.float64)
        total.index_add_(0, sample, nodes.double())
        found = total[there] / counts[there].unsqueeze(1)
    x = np.zeros((len(counts), found.shape[1]))
    x[there.numpy()] = (found - found.mean(0)).numpy() if len(found) else 0.0
    size = np.square(x).sum() / len(x)
    return x / np.sqrt(size) if size > 0 else x


def _varies(goal: np.ndarray, there: np.ndarray) -> bool:
    """Whether a task has labels enough, and of more than one kind."""
    return int(there.sum()) >= FEWEST and bool(np.ptp(goal[there], axis=0).any())
