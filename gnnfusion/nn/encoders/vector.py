"""Vectors (or anything flattened to one) through a multi-layer perceptron."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.topology import NodeLayout
from gnnfusion.nn.encoders.augment import noisy
from gnnfusion.nn.encoders.selection import make_selection
from gnnfusion.nn.encoders.standardize import Standardize


class VectorEncoder(nn.Module):
    """Standardize, then `layers` linear maps with GELU and dropout between.

    Parameters
    ----------
    features
        Numbers per node.
    width
        Size of the output.
    dropout
        Probability of dropping a hidden unit.
    layers
        Number of linear maps; 1 is a linear projection.
    input_dropout
        Probability of dropping an input feature.
    noise
        Standard deviation of white noise in training, in units of each feature's spread.
    select
        Price of reading all features (`Selection`); 0 reads them all.
    """

    def __init__(
        self,
        features: int,
        width: int,
        dropout: float,
        layers: int = 2,
        input_dropout: float = 0.0,
        noise: float = 0.0,
        select: float = 0.0,
    ) -> None:
        super().__init__()
        if noise < 0:
            raise ValueError(f"noise must not be negative, not {noise}")
        self.noise = noise
        self.standardize = Standardize((features,))
        self.select = make_selection(features, select)
        steps: list[nn.Module] = [nn.Dropout(input_dropout)]
        for layer in range(layers):
            steps.append(nn.Linear(features if layer == 0 else width, width))
            if layer < layers - 1:
                steps += [nn.GELU(), nn.Dropout(dropout)]
        self.net = nn.Sequential(*steps)

    def fit(self, nodes: NodeLayout) -> None:
        self.standardize.fit(nodes.x.flatten(1))

    def forward(self, nodes: NodeLayout) -> Tensor:
        x = self.standardize(nodes.x.flatten(1))
        if self.training:
            x = noisy(x, self.noise)
        out: Tensor = self.net(self.select(x))
        return out


def make(
    spec: NodeSpec, state: Mapping[str, Any], width: int, dropout: float, **settings: Any
) -> nn.Module:
    """A `VectorEncoder` of the flattened node."""
    return VectorEncoder(math.prod(spec.shape), width, dropout, **settings)
