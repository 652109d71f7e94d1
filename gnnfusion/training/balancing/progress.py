"""Weights from what the epochs before have shown."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnfusion.training.balancing.balancer import Split, Weigher

TEMPERATURE = 2.0  # the paper's


class DWA(Weigher):
    r"""Dynamic weight average, after `arXiv:1803.10704 <https://arxiv.org/abs/1803.10704>`_.

    .. math:: \lambda_t = T\, \mathrm{softmax}_t(r_t / 2), \qquad
              r_t = \frac{\bar L_t(e - 1)}{\bar L_t(e - 2)}

    with :math:`\bar L_t(e)` the mean over all labels of task t that were scored in epoch e. Both
    epochs are the last two that had any; until a task has had two, its ratio is one.
    """

    means: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__(weights)
        self.register_buffer("means", torch.full((2, len(weights)), torch.nan))

    def end_epoch(self, losses: Tensor, relative: Tensor) -> None:
        losses = losses.to(self.means)
        seen = losses.isfinite()
        self.means[0, seen] = self.means[1, seen]
        self.means[1, seen] = losses[seen]

    def weigh(self, losses: Tensor, places: Tensor, split: Split) -> Tensor:
        ratio = self.means[1] / self.means[0]
        ratio = torch.where(ratio.isfinite(), ratio, 1.0)
        return (ratio / TEMPERATURE).softmax(0)[places] * len(ratio)


class Performance(Weigher):
    r"""Weights in proportion to performance, or in inverse proportion.

    .. math:: \lambda_t = T \frac{p_t^{\pm 1}}{\sum_s p_s^{\pm 1}}, \qquad
              p_t = \frac{\text{loss of the best constant prediction of task } t}{\text{its loss}}

    on the validation rows at the end of the last epoch (in a refit, which has none, the training
    loss of that epoch). Until a task has been measured its performance is one, that of guessing.

    Parameters
    ----------
    weights
        The schema's weights, ``[T]``.
    power
        1: the best task leads; -1: the worst does.
    """

    performance: Tensor

    def __init__(self, weights: Tensor, power: float) -> None:
        super().__init__(weights)
        self.power = power
        self.register_buffer("performance", torch.ones(len(weights)))

    def end_epoch(self, losses: Tensor, relative: Tensor) -> None:
        found = 1 / relative.to(self.performance).clamp_min(1e-3)  # perfect is not infinitely good
        self.performance.copy_(torch.where(found.isfinite(), found, self.performance))

    def weigh(self, losses: Tensor, places: Tensor, split: Split) -> Tensor:
        share = self.performance**self.power
        return len(share) * share[places] / share.sum()


def make(name: str, weights: Tensor) -> Weigher:
    """``dwa``, ``performance`` or ``performance_inverse``."""
    if name == "dwa":
        return DWA(weights)
    return Performance(weights, {"performance": 1.0, "performance_inverse": -1.0}[name])
