"""TorchJD's scalarizers without a memory: functions of the losses of one step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchjd.scalarization import PBI, STCH, GeometricMean, Random, Scalarizer

from gnnfusion.training.balancing.balancer import LEAST, Split, Weigher

SMOOTH = 0.5  # of `stch`, in units of the loss


class Scalarized(Weigher):
    r"""A function f of the losses: to minimize it is to weigh the losses by its slopes.

    .. math:: \lambda_t = k\, \frac{\partial f}{\partial \ell_t}(\ell_1, \dots, \ell_k)

    over the k tasks that are present. Each f is a kind of mean: its slopes at equal losses sum to
    one.

    Parameters
    ----------
    weights
        The schema's weights, ``[T]``.
    function
        Makes f for so many losses.
    """

    def __init__(self, weights: Tensor, function: Callable[[int], Scalarizer]) -> None:
        super().__init__(weights)
        self.function = function

    def weigh(self, losses: Tensor, places: Tensor, split: Split) -> Tensor:
        count = len(losses)
        leaf = losses.detach().clamp_min(LEAST).requires_grad_()
        with torch.enable_grad():
            (slopes,) = torch.autograd.grad(self.function(count)(leaf), leaf)
        return count * slopes


class MeanPBI(PBI):
    r"""Penalty-based boundary intersection towards equal losses, in units of their mean.

    .. math:: f = \frac{d_1 + \theta d_2}{\sqrt k}, \qquad d_1 = \frac{1}{\sqrt k} \sum_t \ell_t,
              \quad d_2 = \lVert \ell - \bar\ell \rVert

    :math:`\theta = 1 / \sqrt{k - 1}` is the largest penalty under which no loss is ever pushed up;
    the 5 of the paper, which searches without gradients, would raise the small losses.
    """

    def __init__(self, count: int) -> None:
        super().__init__((count - 1) ** -0.5 if count > 1 else 0.0, torch.ones(count))

    def forward(self, values: Tensor, /) -> Tensor:
        self.weights = self.weights.to(values)
        return super().forward(values) / len(values) ** 0.5


FUNCTIONS: dict[str, Callable[[int], Scalarizer]] = {
    "random": lambda count: Random(),
    "geometric_mean": lambda count: GeometricMean(),
    # With weights of one it is a soft maximum of the losses themselves, however many there are.
    "stch": lambda count: STCH(SMOOTH, weights=torch.tensor(1.0).expand(count)),
    "pbi": MeanPBI,
}


def make(name: str, weights: Tensor) -> Scalarized:
    """One of `FUNCTIONS`."""
    return Scalarized(weights, FUNCTIONS[name])
