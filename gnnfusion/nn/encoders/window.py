"""Windows of multichannel signals through one-dimensional convolutions over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.topology import NodeLayout
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
    """

    def __init__(
        self,
        channels_in: int,
        width: int,
        dropout: float,
        channels: Sequence[int] = (64, 128),
        kernel: int = 5,
        parts: int = 1,
    ) -> None:
        super().__init__()
        self.standardize = Standardize((channels_in, 1))
        blocks: list[nn.Module] = []
        before = channels_in
        for place, after in enumerate(channels):
            blocks += [
                nn.Conv1d(before, after, kernel, stride=1 + (place > 0), padding=kernel // 2,
                          bias=False),
                nn.GroupNorm(max(1, after // 16), after),
                nn.GELU(),
                nn.Dropout1d(dropout),
            ]  # fmt: skip
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool1d(parts)
        self.project = nn.Linear(before * parts, width)

    def fit(self, nodes: NodeLayout) -> None:
        self.standardize.fit(nodes.x)

    def forward(self, nodes: NodeLayout) -> Tensor:
        out: Tensor = self.project(self.pool(self.blocks(self.standardize(nodes.x))).flatten(1))
        return out


def make(
    spec: NodeSpec, state: Mapping[str, Any], width: int, dropout: float, **settings: Any
) -> nn.Module:
    """A `WindowEncoder`; nodes must be ``(C, L)``."""
    if len(spec.shape) != 2:
        raise ValueError(f"nodes must be (channels, steps), not {spec.shape}")
    return WindowEncoder(spec.shape[0], width, dropout, **settings)
