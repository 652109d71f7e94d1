"""Random changes of pictures, spectrograms and token sequences, for training steps alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnfusion.features.text import PADDING, UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How far pictures are changed in training; all 0 changes nothing and draws nothing.

    Whatever is drawn is drawn for each unit (the frames of a clip move and are lit together) or for
    each node (time masks, noise), from the generator that the training step has seeded. Leave out
    what would change a label: no `shift` or `flip` where a place is a target, no `brightness` or
    `contrast` where light is, no `frequency_mask` where pitch is.

    Parameters
    ----------
    shift
        Largest shift down and across, as a share of height and width; what comes in repeats the
        edge. It is the random crop of a picture that was padded by so much.
    flip
        Probability of mirroring left and right.
    brightness
        Standard deviation of a number that is added, in units of each channel's spread.
    contrast
        Standard deviation of the logarithm of a factor about the picture's own mean.
    time_mask, frequency_mask
        Largest width of a band of columns (times) or rows (frequencies) that is hidden, as a share
        of the axis.
    noise
        Standard deviation of white noise, in units of each channel's spread.

    Raises
    ------
    ValueError
        A value is negative, or a share is above 1.
    """

    shift: float = 0.0
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    time_mask: float = 0.0
    frequency_mask: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.shift, self.flip, self.time_mask, self.frequency_mask)
        if min(*shares, self.brightness, self.contrast, self.noise) < 0 or max(shares) > 1:
            raise ValueError(
                "shift, flip, time_mask and frequency_mask must lie between 0 and 1, and "
                "brightness, contrast and noise must not be negative"
            )

    def move(self, x: Tensor, unit: Tensor) -> Tensor:
        """Pictures as they are stored ``[n, C, H, W]`` and the unit of each ``[n]``."""
        return flipped(shifted(x, unit, self.shift), unit, self.flip)

    def change(self, x: Tensor, unit: Tensor) -> Tensor:
        """The same once they are standardized."""
        x = lit(x, unit, self.brightness, self.contrast)
        x = masked(x, unit, self.frequency_mask, 2)
        x = masked(x, torch.arange(len(x), device=x.device), self.time_mask, 3)
        return noisy(x, self.noise)


def uniform(unit: Tensor, *shape: int) -> Tensor:
    """Numbers in [0, 1) ``[n, *shape]``, one draw for all nodes of a unit."""
    units = int(unit.max()) + 1 if len(unit) else 0
    return torch.rand(units, *shape, device=unit.device)[unit]


def normal(unit: Tensor, *shape: int) -> Tensor:
    """Standard normal numbers ``[n, *shape]``, one draw for all nodes of a unit."""
    units = int(unit.max()) + 1 if len(unit) else 0
    return torch.randn(units, *shape, device=unit.device)[unit]


def shifted(x: Tensor, unit: Tensor, most: float) -> Tensor:
    r"""Pictures ``[n, C, H, W]`` read at :math:`(r + a, c + b)`, cut to the picture.

    with whole a in [-most H, most H] and b in [-most W, most W], uniform, per unit.
    """
    if not most:
        return x
    for axis, draw in zip((2, 3), uniform(unit, 2).unbind(1), strict=True):
        size = x.shape[axis]
        reach = round(most * size)
        step = (draw * (2 * reach + 1)).long() - reach
        place = (torch.arange(size, device=x.device) + step.unsqueeze(1)).clamp(0, size - 1)
        shape = [len(x), 1, 1, 1]
        shape[axis] = size
        x = x.gather(axis, place.view(shape).expand_as(x))
    return x


def flipped(x: Tensor, unit: Tensor, share: float) -> Tensor:
    """Pictures ``[n, C, H, W]``; each unit is mirrored left to right with this probability."""
    if not share:
        return x
    return torch.where(uniform(unit, 1, 1, 1) < share, x.flip(3), x)


def lit(x: Tensor, unit: Tensor, brightness: float, contrast: float) -> Tensor:
    r""":math:`\bar x + e^{c} (x - \bar x) + b` of each picture's mean; c, b normal per unit."""
    if contrast:
        mean = x.mean((1, 2, 3), keepdim=True)
        x = mean + (contrast * normal(unit, 1, 1, 1)).exp().to(x.dtype) * (x - mean)
    return x + brightness * normal(unit, 1, 1, 1).to(x.dtype) if brightness else x


def masked(x: Tensor, unit: Tensor, most: float, axis: int) -> Tensor:
    r"""Hide a band of an axis of standardized pictures ``[n, C, H, W]``: SpecAugment.

    A width w uniform in [0, most L] and a start uniform in [0, L - w] of an axis of length L
    (`arXiv:1904.08779 <https://arxiv.org/abs/1904.08779>`_); the band is set to 0, the mean of the
    training rows.
    """
    if not most:
        return x
    size = x.shape[axis]
    width, start = uniform(unit, 2).unbind(1)
    width = (width * (int(most * size) + 1)).floor()
    start = (start * (size - width + 1)).floor()
    place = torch.arange(size, device=x.device) - start.unsqueeze(1)
    shape = [len(x), 1, 1, 1]
    shape[axis] = size
    hidden = (place >= 0) & (place < width.unsqueeze(1))
    return x.masked_fill(hidden.view(shape), 0.0)


def noisy(x: Tensor, noise: float) -> Tensor:
    """Plus white noise; for standardized features."""
    return x + noise * torch.randn_like(x) if noise else x


def drop_tokens(ids: Tensor, share: float) -> Tensor:
    """Each word ``[rows, L]`` unknown with this probability; padding stays padding.

    Word dropout (Iyyer et al. 2015, `doi:10.3115/v1/P15-1162
    <https://doi.org/10.3115/v1/P15-1162>`_) that keeps length and order, and trains the vector that
    stands for words which the training rows lack.
    """
    if not share:
        return ids
    drop = (torch.rand(ids.shape, device=ids.device) < share) & (ids != PADDING)
    return ids.masked_fill(drop, UNKNOWN)


def check_share(token_dropout: float) -> float:
    """The value, if it is a probability below 1."""
    if not 0 <= token_dropout < 1:
        raise ValueError(f"token_dropout must be at least 0 and below 1, not {token_dropout}")
    return token_dropout
