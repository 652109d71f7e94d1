"""Where a node is (time, place in a grid, order) as a vector."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_WAVES = 12


def sinusoids(pos: Tensor) -> Tensor:
    r"""Sines and cosines of each position at wavelengths from 1/4 to 512 units, ``[n, P * 24]``.

    .. math:: \sin(2\pi p / \lambda_k), \cos(2\pi p / \lambda_k), \quad \lambda_k = 2^{k - 2}

    after Vaswani et al., `arXiv:1706.03762 <https://arxiv.org/abs/1706.03762>`_.
    """
    wavelengths = 2.0 ** torch.arange(-2, _WAVES - 2, device=pos.device, dtype=pos.dtype)
    angle = (2 * math.pi * pos.unsqueeze(2) / wavelengths).flatten(1)
    return torch.cat([angle.sin(), angle.cos()], 1)


class PositionEncoding(nn.Module):
    """A learned linear map of the sinusoids, without bias; zero columns give exactly zero."""

    def __init__(self, columns: int, width: int) -> None:
        super().__init__()
        self.lin = nn.Linear(2 * _WAVES * columns, width, bias=False)

    def forward(self, pos: Tensor) -> Tensor:
        out: Tensor = self.lin(sinusoids(pos))
        return out
