"""Windows of multichannel signals through one-dimensional convolutions over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.topology import NodeLayout
from gnnfusion.nn.encoders.actnorm import ActNorm, evenly, fit_through
from gnnfusion.nn.encoders.jitter import Jitter, rotated, scaled_and_noisy, warped
from gnnfusion.nn.encoders.selection import make_selection
from gnnfusion.nn.encoders.standardize import Standardize


class WindowEncoder(nn.Module):
    """Convolution blocks over time, then one vector per window.

    Parameters
    ----------
    channels_in
        Channels of the signal.
    width
        Size of the output.
    dropout
        Probability of dropping a channel between blocks.
    channels
        Channels of the blocks; all but the first halve the length.
    kernel
        Length of the filters, in steps.
    parts
        Into how many equal parts of the window the result is averaged, so that the order of what
        happens within a window is kept; 1 averages over the whole window.
    warp, rotate, scale, noise
        How far signals are changed at random in training (`Jitter`).
    select
        Price of reading all channels (`Selection`); 0 reads them all.
    differences
        Read the changes from step to step beside the signal itself: how something moves beside
        where it is.
    """

    def __init__(
        self,
        channels_in: int,
        width: int,
        dropout: float,
        channels: Sequence[int] = (64, 128),
        kernel: int = 5,
        parts: int = 1,
        warp: float = 0.0,
        rotate: float = 0.0,
        scale: float = 0.0,
        noise: float = 0.0,
        select: float = 0.0,
        differences: bool = False,
    ) -> None:
        super().__init__()
        if rotate and channels_in % 3:
            raise ValueError(f"`rotate` takes channels three by three, and there are {channels_in}")
        self.jitter = Jitter(warp=warp, rotate=rotate, scale=scale, noise=noise)
        self.standardize = Standardize((channels_in, 1))
        self.select = make_selection(channels_in, select)
        # Neighbouring steps are alike, so their differences are small in units of the signal.
        self.standardize_changes = Standardize((channels_in, 1)) if differences else None
        blocks: list[nn.Module] = []
        before = channels_in * (2 if differences else 1)
        for place, after in enumerate(channels):
            blocks += [
                nn.Conv1d(before, after, kernel, padding=kernel // 2, bias=False),
                ActNorm(after),
                nn.GELU(),
                *([nn.MaxPool1d(2, ceil_mode=True)] if place else []),
                nn.Dropout1d(dropout),
            ]  # fmt: skip
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool1d(parts)
        self.project = nn.Linear(before * parts, width)

    def fit(self, nodes: NodeLayout) -> None:
        self.standardize.fit(nodes.x)
        if self.standardize_changes is not None:
            self.standardize_changes.fit(changes(self.standardize(nodes.x)))
        fit_through(self.blocks, self._with_changes(self.standardize(evenly(nodes.x))))

    def forward(self, nodes: NodeLayout) -> Tensor:
        x, jitter = nodes.x, self.jitter
        if self.training:
            # Before standardizing, which scales the three axes of a vector apart.
            x = rotated(x, jitter.rotate)
        x = self.standardize(x)
        if self.training:
            x = scaled_and_noisy(warped(x, jitter.warp), jitter.scale, jitter.noise)
        x = self._with_changes(self.select(x))
        out: Tensor = self.project(self.pool(self.blocks(x)).flatten(1))
        return out

    def _with_changes(self, x: Tensor) -> Tensor:
        """The signal ``[n, C, L]``, with its changes as C further channels if they are read."""
        if self.standardize_changes is None:
            return x
        return torch.cat([x, self.standardize_changes(changes(x))], 1)


def changes(x: Tensor) -> Tensor:
    """Changes ``[n, C, L]`` from the step before; 0 at the first step."""
    return torch.diff(x, dim=2, prepend=x[:, :, :1])


def make(
    spec: NodeSpec, state: Mapping[str, Any], width: int, dropout: float, **settings: Any
) -> nn.Module:
    """A `WindowEncoder`; nodes must be ``(C, L)``."""
    if len(spec.shape) != 2:
        raise ValueError(f"nodes must be (channels, steps), not {spec.shape}")
    if settings.get("rotate") and "std" in state:
        raise ValueError(
            "`rotate` turns axes into each other, which the extractor has scaled apart; give it "
            "standardize: false"
        )
    return WindowEncoder(spec.shape[0], width, dropout, **settings)
