"""Standardization of node features with statistics of the training rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CHUNK = 4096


class Standardize(nn.Module):
    """Subtract the mean and divide by the spread, per feature or per channel.

    Parameters
    ----------
    shape
        Shape of the statistics, e.g. ``(F,)`` or ``(C, 1, 1)``; they broadcast over one node.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Take mean and spread from training nodes ``[n, *node shape]``, in chunks."""
        if len(x) == 0:
            return
        axes = [0] + [i + 1 for i, size in enumerate(self.mean.shape) if size == 1]
        count = 0
        total, square = torch.zeros_like(self.mean).double(), torch.zeros_like(self.mean).double()
        for chunk in x.split(_CHUNK):
            values = chunk.double()
            count += values.numel() // self.mean.numel()
            total = total + values.sum(axes, keepdim=True)[0]
            square = square + values.square().sum(axes, keepdim=True)[0]
        mean = total / count
        std = (square / count - mean.square()).clamp_min(0).sqrt()
        # A constant feature carries nothing; dividing by 1 leaves it at zero.
        std = torch.where(std > 1e-6 * (1 + mean.abs()), std, torch.ones_like(std))
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(self.mean.dtype) - self.mean) / self.std
