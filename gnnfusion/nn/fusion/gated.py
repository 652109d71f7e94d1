"""Gated attention pooling: each sample weighs its own modalities."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.pooling import Branches, add_empty, masked_softmax
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk, to_all_tasks


class GatedFusion(Trunk):
    r"""Gated attention pooling after `arXiv:1802.04712 <https://arxiv.org/abs/1802.04712>`_.

    .. math:: y = \sum_{s \in P} w_s z_s, \qquad w = \mathrm{softmax}_{s \in P}\bigl(
              a \cdot (\tanh(V z_s) \odot \sigma(U z_s))\bigr)

    with P the present slots and :math:`z_s = f_s(x_s)` the mean of slot s through its own network.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.branches = Branches(types, config)
        self.value, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)
        self.empty = nn.Parameter(torch.zeros(width))

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        z, present = add_empty(self.empty, *self.branches(h, batch))
        return to_all_tasks((self.weights(z, present).unsqueeze(2) * z).sum(1), batch)

    def weights(self, z: Tensor, present: Tensor) -> Tensor:
        """Weights ``[B, S + 1]`` of the slots and of having none; each row sums to 1."""
        score = self.score(self.value(z).tanh() * self.gate(z).sigmoid())
        return masked_softmax(score.squeeze(2), present)


def make(types: GraphTypes, config: NetworkConfig) -> GatedFusion:
    """A `GatedFusion`."""
    return GatedFusion(types, config)
