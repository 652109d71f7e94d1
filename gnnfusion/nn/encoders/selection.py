"""Learned selection of node features: gates that pay for being open, and can be read off."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gnnfusion.nn.hard_concrete import HIGH, LOW, stretched_and_cut

TEMPERATURE = 2 / 3
"""The paper's: how soft a draw is."""

START, SPEED = 1.5, 10.0
"""Logit at the start, and how much faster than other parameters logits move."""


class Selection(nn.Module):
    r"""Hard concrete gates, one per feature (Louizos et al., `arXiv:1712.01312
    <https://arxiv.org/abs/1712.01312>`_).

    .. math:: z = \min(1, \max(0, \bar s (\zeta - \gamma) + \gamma)), \qquad
              s = \sigma\left(\frac{\log u - \log(1 - u) + a}{\beta}\right)

    with u uniform for each node and feature in training, and in place of s its middle
    :math:`\sigma(a)` else. The loss pays for the chance of being open,

    .. math:: \frac{\lambda}{F} \sum_f P(z_f > 0), \qquad
              P(z > 0) = \sigma(a - \beta \log(-\gamma / \zeta)),

    so a feature stays if it lowers the loss by more than :math:`\lambda / F`. The noise is what
    makes the price bite: under a gate that were only small, larger weights would undo it.

    Parameters
    ----------
    features
        Number of gates F; features ``[n, F, ...]`` are gated along the second dimension.
    price
        :math:`\lambda`, of all features open, in units of the training loss.

    Raises
    ------
    ValueError
        The price is negative.
    """

    def __init__(self, features: int, price: float) -> None:
        super().__init__()
        if price < 0:
            raise ValueError(f"select must not be negative, not {price}")
        self.price = price
        # Adam moves any parameter by the learning rate; logits have further to go than weights.
        self.slow = nn.Parameter(torch.full((features,), START / SPEED))

    @property
    def logits(self) -> Tensor:
        return SPEED * self.slow

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            u = torch.rand(x.shape[:2], device=x.device).clamp(1e-6, 1 - 1e-6)
            gate = stretched_and_cut(((u.logit() + self.logits) / TEMPERATURE).sigmoid())
        else:
            gate = self.gates().expand(x.shape[:2])
        return x * gate.view(*x.shape[:2], *[1] * (x.ndim - 2)).to(x.dtype)

    def gates(self) -> Tensor:
        """How open each feature is without noise, ``[F]`` between 0 and 1; 0 is closed for good."""
        return stretched_and_cut(self.logits.sigmoid())

    def chances(self) -> Tensor:
        """Probability of each gate to be open at all in training, ``[F]``."""
        return (self.logits - TEMPERATURE * math.log(-LOW / HIGH)).sigmoid()

    def penalty(self) -> Tensor:
        """What the gates add to the training loss."""
        return self.price * self.chances().mean()


def make_selection(features: int, price: float) -> nn.Module:
    """`Selection`, or nothing at all where it costs nothing."""
    return Selection(features, price) if price else nn.Identity()


def selection_penalty(network: nn.Module) -> Tensor | float:
    """What all selections within a network add to the training loss; 0.0 if there are none."""
    return sum(m.penalty() for m in network.modules() if isinstance(m, Selection))


@torch.no_grad()
def selected(network: nn.Module) -> dict[str, Tensor]:
    """Gates ``[F]`` of each selection in a network, by the name of its encoder."""
    return {
        name.rpartition(".")[0]: m.gates()
        for name, m in network.named_modules()
        if isinstance(m, Selection)
    }
