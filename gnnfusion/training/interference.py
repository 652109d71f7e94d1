"""How the gradients of the tasks agree: cosine and size for each pair, over the epochs."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
from torch import Tensor


class Interference:
    r"""Means over the steps of an epoch in which two tasks were both present.

    .. math:: \cos_{ij} = \frac{\langle g_i, g_j \rangle}{\lVert g_i \rVert \lVert g_j \rVert},
              \qquad
              \text{similarity}_{ij} = \frac{2 \lVert g_i \rVert \lVert g_j \rVert}
                                            {\lVert g_i \rVert^2 + \lVert g_j \rVert^2}

    of the gradients of the losses (before any weights) by the shared parameters; the second is the
    magnitude similarity of `arXiv:2001.06782 <https://arxiv.org/abs/2001.06782>`_, one for equally
    large gradients. A cosine below zero is a conflict: what helps one task hurts the other.

    Parameters
    ----------
    tasks
        Their names.
    """

    def __init__(self, tasks: tuple[str, ...]) -> None:
        self.tasks = tasks
        self.sums = torch.zeros(5, len(tasks), len(tasks), dtype=torch.float64)

    def clear(self) -> None:
        """Begin an epoch."""
        self.sums.zero_()

    def add(self, gramian: Tensor) -> None:
        """Take up a step: products of the gradients ``[T, T]``, NaN for a task that is absent."""
        gramian = gramian.nan_to_num(0.0)  # a task without a gradient is in no pair, either
        size = gramian.diagonal().sqrt()
        both = size.outer(size)
        defined = both > 0
        both = both.where(defined, torch.ones_like(both))
        square = size.square()
        found = torch.stack([
            torch.ones_like(both),
            gramian / both,
            (gramian < 0).double(),
            2 * both / (square.unsqueeze(0) + square.unsqueeze(1)).clamp_min(1e-300),
            size.unsqueeze(1).expand_as(both),
        ])  # fmt: skip
        self.sums += found * defined

    def rows(self, epoch: int) -> list[dict[str, Any]]:
        """One row for each pair that was present together, without which there is nothing to say.

        ``steps`` counts these steps, ``conflict`` is the share of them with a cosine below zero,
        ``norm_a`` and ``norm_b`` are the mean sizes of the two gradients.
        """
        found = []
        for i, j in combinations(range(len(self.tasks)), 2):
            steps = float(self.sums[0, i, j])
            if steps:
                cosine, conflict, similarity, norm_a = (self.sums[1:, i, j] / steps).tolist()
                found.append({
                    "epoch": epoch, "task_a": self.tasks[i], "task_b": self.tasks[j],
                    "steps": int(steps), "cosine": cosine, "conflict": conflict,
                    "magnitude_similarity": similarity, "norm_a": norm_a,
                    "norm_b": float(self.sums[4, j, i]) / steps,
                })  # fmt: skip
        return found
