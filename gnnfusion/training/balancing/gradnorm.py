"""GradNorm: weights that make the tasks' gradients about equally large."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnfusion.training.balancing.balancer import LEAST, Split, Weigher, jacobian, task_gradients
from gnnfusion.training.balancing.learned import Numbers

ASYMMETRY = 1.5  # the paper's: how much more a task that lags behind gets


class GradNorm(Weigher):
    r"""GradNorm, after `arXiv:1711.02257 <https://arxiv.org/abs/1711.02257>`_.

    .. math:: \min_\lambda \sum_t \left\lvert G_t - \bar G\, r_t^{3/2} \right\rvert, \qquad
              G_t = \lambda_t \lVert \nabla \ell_t \rVert, \quad
              r_t = \frac{\ell_t / \ell_t(0)}{\text{mean}_s\, \ell_s / \ell_s(0)}

    with :math:`\bar G` the mean of G; the right side counts as a constant. Gradients are by all
    shared parameters, since not every fusion has a last shared layer. The weights are learned as
    logarithms, so none turns negative, and after every step they are brought back to the sum T:
    those present share what they had together, an absent task keeps its own. :math:`\ell_t(0)` is
    the loss of the first step with the task.
    """

    first: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__(weights)
        self.logarithms = Numbers(len(weights))
        self.register_buffer("first", torch.full((len(weights),), torch.nan))

    def factors(self) -> Tensor:
        """Weights of all tasks ``[T]``; their sum is T."""
        return self.logarithms(torch.arange(len(self.weights))).exp()

    def weigh(self, losses: Tensor, places: Tensor, split: Split) -> Tensor:
        found = self.logarithms(places).exp()
        size = jacobian(task_gradients(losses, split.shared), split.shared).norm(dim=1).to(found)
        first = self.first[places]
        first = torch.where(first.isfinite(), first, losses.clamp_min(LEAST))
        self.first[places] = first
        pace = losses / first
        goal = (found * size).mean() * (pace / pace.mean().clamp_min(LEAST)) ** ASYMMETRY
        # By the chain rule: the weight is the exponential of what is learned.
        self.logarithms.descend(places, found * size * (found * size - goal).sign())
        moved = self.logarithms(places)
        self.logarithms.set(places, moved - moved.logsumexp(0) + found.sum().log())
        return found


def make(name: str, weights: Tensor) -> GradNorm:
    """A `GradNorm`."""
    return GradNorm(weights)
