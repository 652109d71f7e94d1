"""Pictures, video frames and spectrogram segments through a small convolutional network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.topology import NodeLayout
from gnnfusion.nn.encoders.actnorm import ActNorm, evenly, fit_through
from gnnfusion.nn.encoders.augment import Augment
from gnnfusion.nn.encoders.keypoints import Keypoints
from gnnfusion.nn.encoders.selection import make_selection
from gnnfusion.nn.encoders.standardize import Standardize

POOLS: dict[str, Callable[[int], tuple[nn.Module, int]]] = {
    "grid": lambda channels: (nn.AdaptiveAvgPool2d((4, 4)), 16 * channels),
    "mean": lambda channels: (nn.AdaptiveAvgPool2d((1, 1)), channels),
    "keypoints": lambda channels: (Keypoints(channels), 5 * channels),
}
"""Name -> from the number of channels, the pooling and how many numbers it gives."""


class PictureEncoder(nn.Module):
    """Convolution blocks that halve pictures of 16 pixels or more, then one vector per node.

    Normalization is by learned constants (`ActNorm`), so no picture sees another.

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
        ``mean`` averages over all places; ``keypoints`` says where each channel looks, to a
        fraction of a pixel (`Keypoints`), for tasks about places and sizes.
    shift, flip, brightness, contrast, time_mask, frequency_mask, noise
        How far pictures are changed at random in training (`Augment`).
    select
        Price of reading all channels of the last block (`Selection`); 0 reads them all.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        width: int,
        dropout: float,
        channels: Sequence[int] = (16, 32, 64),
        pool: str = "grid",
        shift: float = 0.0,
        flip: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        time_mask: float = 0.0,
        frequency_mask: float = 0.0,
        noise: float = 0.0,
        select: float = 0.0,
    ) -> None:
        super().__init__()
        self.augment = Augment(
            shift=shift,
            flip=flip,
            brightness=brightness,
            contrast=contrast,
            time_mask=time_mask,
            frequency_mask=frequency_mask,
            noise=noise,
        )
        if pool not in POOLS:
            raise ValueError(f"pool must be one of {', '.join(POOLS)}, not {pool!r}")
        self.standardize = Standardize((shape[0], 1, 1))
        blocks: list[nn.Module] = []
        size, before = min(shape[1:]), shape[0]
        for after in channels:
            # The stride is in the convolution: pooling after it costs four times the arithmetic.
            stride = 2 if size >= 16 else 1
            blocks += [
                nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
                ActNorm(after),
                nn.GELU(),
            ]
            size //= stride
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.select = make_selection(before, select)
        pooling, size = POOLS[pool](before)
        self.head = nn.Sequential(
            pooling, nn.Flatten(), nn.Dropout(dropout), nn.Linear(size, width)
        )

    def fit(self, nodes: NodeLayout) -> None:
        self.standardize.fit(nodes.x)
        fit_through(self.blocks, self.standardize(evenly(nodes.x)))

    def forward(self, nodes: NodeLayout) -> Tensor:
        x = self.augment.move(nodes.x, nodes.unit) if self.training else nodes.x
        x = self.standardize(x)
        if self.training:
            x = self.augment.change(x, nodes.unit)
        out: Tensor = self.head(self.select(self.blocks(x)))
        return out


def make(
    spec: NodeSpec, state: Mapping[str, Any], width: int, dropout: float, **settings: Any
) -> nn.Module:
    """A `PictureEncoder`; nodes must be ``(C, H, W)``."""
    if len(spec.shape) != 3:
        raise ValueError(f"nodes must be (channels, height, width), not {spec.shape}")
    if settings.get("flip") and "column" in spec.position:
        raise ValueError("`flip` mirrors pictures, not the places of a grid of their patches")
    return PictureEncoder((spec.shape[0], spec.shape[1], spec.shape[2]), width, dropout, **settings)
