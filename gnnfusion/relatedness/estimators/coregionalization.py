r"""How much of what the features tell of one label they tell of another, all tasks fitted at once.

With z(x) ``[R]`` the principal axes of what the network's encoders make of a sample, every column o
of the labels (standardized values, indicators of classes, of thresholds of an ordinal task; of a
task with more than `COLUMNS` directions, those in which its labels vary most) is taken for

.. math:: y_o(x) = w_o^\top z(x) + \varepsilon_o, \qquad
          \operatorname{cov}(w_o, w_p) = B_{op} I_R, \qquad \varepsilon_o \sim N(0, \sigma_t^2)

the intrinsic coregionalization model (Goovaerts 1997; multi-task Gaussian processes: Bonilla,
Chai and Williams 2008; review: Álvarez et al., arXiv:1106.6251) with a linear kernel, of each task
on the rows that have its label. `STEPS` of EM lead B towards the largest marginal likelihood, which
weighs what each label tells by how surely it does, and lets a third task speak for two; where
labels are few they stop short of it, nearer to unrelated tasks. With :math:`B_{ij}` the block of
tasks i and j, and :math:`h_i` the share of label i's variance that is not noise,

.. math:: v_{ij} = \frac{\lVert B_{ij} \rVert_F^2}
                        {\lVert B_{ii} \rVert_F \lVert B_{jj} \rVert_F} \sqrt{h_i h_j}

between 0 and 1: for single outputs the squared correlation of what the features tell of both, times
how much of a label they tell.

Question: training with i helps j. It needs no row with both labels; noise that two labels share on
the same rows counts as told by the features while rows are few. As it fits readers of its own to
the encoders' outputs, labels of training rows serve it as well; in networks that had learned their
training rows by heart, values of unrelated tasks stayed near 0. Null: none, since unrelated tasks
may read the same features. Intervals: over retraining alone; a new B for every bootstrap sample
would cost more than a training. Cost: the encoders' pass, and `STEPS` inversions of a matrix of at
most `LARGEST` rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.encoded import encoded_samples, principal_axes
from gnnfusion.relatedness.estimators.representation import graph_of_likeness
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evaluate import goals_of

AXES = 48
COLUMNS = 8  # of a task's labels
LARGEST = 1024  # axes times columns of all labels: with more columns, fewer axes
STEPS = 20
MOST = 5000  # rows, drawn from more
FEWEST = 8
LEAST = 1e-6  # of B and of noise, so that they can be inverted


def estimate(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """Values of every pair of tasks, from those of `rows` that have a label."""
    drawn = some_labelled(store.masks[rows].numpy(), MOST, np.random.default_rng(seed))
    rows = rows[torch.from_numpy(drawn)]
    masks = store.masks[rows].numpy()
    goals = [
        leading_columns(goal.numpy(), there)
        for goal, there in zip(goals_of(network, store, rows).values(), masks.T, strict=True)
    ]
    usable = [t for t, goal in enumerate(goals) if goal.any() and masks[:, t].sum() >= FEWEST]
    value, axes = np.full((len(goals), len(goals)), np.nan), 0
    if usable:
        columns = sum(goals[t].shape[1] for t in usable)
        axes = max(1, min(AXES, LARGEST // columns))
        z = principal_axes(encoded_samples(network, store, rows), axes)
        found = coregionalized(z, [goals[t] for t in usable], masks[:, usable])
        value[np.ix_(usable, usable)] = in_common(*found)
    nothing = np.full_like(value, np.nan)
    return graph_of_likeness(
        "coregionalization", value, nothing, nothing, store,
        (masks[:, :, None] | masks[:, None, :]).sum(0), "share of the labels told in common",
        f"n counts rows with either label; {axes} axes of what the encoders make are read",
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
        Labels of each task ``[n, K_t]``, independent columns; they are centred and given a total
        variance of 1.
    masks
        Which labels there are, bool ``[n, T]``.
    steps
        Of EM; none lowers the likelihood, but for `LEAST`.
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


def in_common(b: np.ndarray, noise: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Values ``[T, T]`` of what `coregionalized` returns."""
    starts = np.cumsum([0, *sizes[:-1]])
    squared = np.add.reduceat(np.add.reduceat(np.square(b), starts, 0), starts, 1)
    own = np.sqrt(squared.diagonal())
    told = np.sqrt(np.clip(1 - noise * sizes, 0, 1))
    found: np.ndarray = squared / np.outer(own, own) * np.outer(told, told)
    return (found + found.T) / 2  # equal but for rounding


def leading_columns(goal: np.ndarray, there: np.ndarray, most: int = COLUMNS) -> np.ndarray:
    """The labels ``[n, K]`` in the directions in which the known ones vary most, ``[n, K']``.

    Indicators of classes sum to 1, so one direction fewer than classes is kept, at most `most`; a
    constant label has none, and is 0.
    """
    centred = np.where(there[:, None], goal - goal[there].mean(0) if there.any() else goal, 0.0)
    if goal.shape[1] == 1:
        return centred
    _, size, turn = np.linalg.svd(centred[there], full_matrices=False)
    kept = size > 1e-6 * size.max(initial=0.0)
    return centred @ turn[kept][:most].T if kept.any() else centred[:, :1] * 0


def some_labelled(masks: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Places, in order, of rows with a label: all, or `most` at random, an even share of which is
    every task's own first, so that rare labels are there.

    Parameters
    ----------
    masks
        Which labels there are, bool ``[n, T]``.
    """
    labelled = np.flatnonzero(masks.any(1))
    if len(labelled) <= most:
        return labelled
    order = rng.permutation(labelled)
    share = most // masks.shape[1]
    own = [order[there][:share] for there in masks[order].T]
    chosen = list(dict.fromkeys(np.concatenate([*own, order]).tolist()))[:most]
    return np.sort(np.array(chosen))
