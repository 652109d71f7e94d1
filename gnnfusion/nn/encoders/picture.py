"""Pictures, video frames and spectrogram segments through a small convolutional network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.topology import NodeLayout
from gnnfusion.nn.encoders.standardize import Standardize


class PictureEncoder(nn.Module):
    """Convolution blocks that halve pictures of 16 pixels or more, then one vector per node.

    Normalization is per node (``GroupNorm``), so no picture sees another.

    Parameters
    ----------
    shape
        ``(C, H, W)`` of a node.
    width
        Size of the output.
    dropout
        Probability of dropping a channel before the projection.
    channels
        Channels of the blocks.
    pool
        ``grid`` averages within a 4 x 4 grid and keeps its places (or frequencies and times) apart;
        ``mean`` averages over all places.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        width: int,
        dropout: float,
        channels: Sequence[int] = (16, 32, 64),
        pool: str = "grid",
    ) -> None:
        super().__init__()
        pools: dict[str, tuple[int, int]] = {"mean": (1, 1), "grid": (4, 4)}
        if pool not in pools:
            raise ValueError(f"pool must be one of {', '.join(pools)}, not {pool!r}")
        self.standardize = Standardize((shape[0], 1, 1))
        blocks: list[nn.Module] = []
        size, before = min(shape[1:]), shape[0]
        for after in channels:
            # The stride is in the convolution: pooling after it costs four times the arithmetic.
            stride = 2 if size >= 16 else 1
            blocks += [
                nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
                nn.GroupNorm(max(1, after // 16), after),
                nn.GELU(),
            ]
            size //= stride
            before = after
        self.blocks = nn.Sequential(*blocks)
        grid = pools[pool]
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(grid),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(before * grid[0] * grid[1], width),
        )

    def fit(self, nodes: NodeLayout) -> None:
        self.standardize.fit(nodes.x)

    def forward(self, nodes: NodeLayout) -> Tensor:
        out: Tensor = self.head(self.blocks(self.standardize(nodes.x)))
        return out


def make(
    spec: NodeSpec, state: Mapping[str, Any], width: int, dropout: float, **settings: Any
) -> nn.Module:
    """A `PictureEncoder`; nodes must be ``(C, H, W)``."""
    if len(spec.shape) != 3:
        raise ValueError(f"nodes must be (channels, height, width), not {spec.shape}")
    return PictureEncoder((spec.shape[0], spec.shape[1], spec.shape[2]), width, dropout, **settings)
