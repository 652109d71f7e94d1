"""Scale and shift per channel that begin as the standardization of the training rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FIT_NODES = 2048


class ActNorm(nn.Module):
    r"""Activation normalization (Kingma and Dhariwal, `arXiv:1807.03039
    <https://arxiv.org/abs/1807.03039>`_).

    .. math:: y_c = \gamma_c x_c + \beta_c

    with :math:`\gamma, \beta` learned from a start at which every channel of the training rows has
    mean 0 and spread 1 (`fit_through`). It conditions training as batch normalization does, and no
    sample sees another; unlike a normalization within each sample it keeps how strong a signal is.

    Parameters
    ----------
    channels
        Size of the second dimension.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Take means and spreads of ``[n, C, ...]``."""
        values = x.transpose(0, 1).flatten(1)
        std = values.std(1, correction=0)
        std = torch.where(std > 1e-6, std, torch.ones_like(std))  # a dead channel stays as it is
        self.scale.copy_(1 / std)
        self.shift.copy_(-values.mean(1) / std)

    def forward(self, x: Tensor) -> Tensor:
        size = (-1, *[1] * (x.ndim - 2))
        return x * self.scale.view(size) + self.shift.view(size)


def evenly(x: Tensor) -> Tensor:
    """At most `FIT_NODES` of the nodes, evenly spaced: enough for means and spreads."""
    return x[torch.linspace(0, len(x) - 1, min(len(x), FIT_NODES)).long()]


@torch.no_grad()
def fit_through(blocks: nn.Sequential, x: Tensor) -> None:
    """Fit every `ActNorm` of a stack to what reaches it from inputs ``[n, ...]``, if any."""
    if len(x) == 0:
        return
    training = blocks.training
    blocks.eval()
    for block in blocks:
        if isinstance(block, ActNorm):
            block.fit(x)
        x = block(x)
    blocks.train(training)
