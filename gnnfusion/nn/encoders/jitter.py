"""Random changes of signals that leave their labels as they are, for training steps alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """How far windows of signals are changed in training; all 0 changes nothing.

    Every window is changed by its own draw, from the generator that the training step has seeded.
    Leave out what would change a label: no `warp` where speed is a target, no `rotate` where
    direction is.

    Parameters
    ----------
    warp
        Largest stretch, shift and bend of the time axis, as a share of half the window.
    rotate
        Standard deviation, in radians, of each component of a random rotation; channels are taken
        three by three as vectors (joints of a skeleton, axes of an accelerometer).
    scale
        Standard deviation of the logarithm of a factor per channel.
    noise
        Standard deviation of white noise, in units of each channel's spread.

    Raises
    ------
    ValueError
        A value is negative.
    """

    warp: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if min(self.warp, self.rotate, self.scale, self.noise) < 0:
            raise ValueError("warp, rotate, scale and noise must not be negative")


def rotated(x: Tensor, spread: float) -> Tensor:
    r"""Channels ``[n, 3 V, L]`` as vectors, turned by :math:`\exp([w]_\times)`, w normal.

    One rotation per window, the same for all its vectors and steps.
    """
    if not spread:
        return x
    axis = spread * torch.randn(len(x), 3, device=x.device, dtype=x.dtype)
    zero = torch.zeros_like(axis[:, 0])
    a, b, c = axis.unbind(1)
    cross = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero], 1).unflatten(1, (3, 3))
    vectors = x.unflatten(1, (-1, 3))
    return torch.einsum("nij,nvjl->nvil", torch.matrix_exp(cross), vectors).flatten(1, 2)


def warped(x: Tensor, most: float) -> Tensor:
    r"""Signals ``[n, C, L]`` read at :math:`\tau(t) = (1 + a) t + b + c \sin(\pi t)`, t in [-1, 1].

    with a, b, c uniform in [-most, most] per window, by linear interpolation; beyond its ends a
    signal keeps its last value.
    """
    if not most:
        return x
    stretch, shift, bend = most * (2 * torch.rand(3, len(x), 1, device=x.device, dtype=x.dtype) - 1)
    time = torch.linspace(-1, 1, x.shape[2], device=x.device, dtype=x.dtype)
    moved = (1 + stretch) * time + shift + bend * (math.pi * time).sin()
    grid = torch.stack([moved, torch.zeros_like(moved)], -1).unsqueeze(1)
    read = torch.nn.functional.grid_sample(
        x.unsqueeze(2), grid, align_corners=True, padding_mode="border"
    )
    return read.squeeze(2)


def scaled_and_noisy(x: Tensor, scale: float, noise: float) -> Tensor:
    """Each channel times its own factor near 1, plus white noise; for standardized signals."""
    if scale:
        x = x * (scale * torch.randn_like(x[:, :, :1])).exp()
    return x + noise * torch.randn_like(x) if noise else x
