"""A weighted mean of the modalities, with one learned weight each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.pooling import Branches, add_empty, masked_softmax, slot_names
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk, to_all_tasks


class WeightedFusion(Trunk):
    r"""Softmax-normalized weights (as ELMo mixes layers, `arXiv:1802.05365
    <https://arxiv.org/abs/1802.05365>`_), among the slots that are there.

    .. math:: y = \sum_{s \in P} w_s f_s(x_s), \qquad w = \mathrm{softmax}_{s \in P}(a_s)

    with P the present slots, :math:`x_s` the mean of slot s and :math:`f_s` its own network. The
    weights are the same for every sample with the same slots.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        self.branches = Branches(types, config)
        self.scores = nn.Parameter(torch.zeros(len(slot_names(types))))
        self.empty = nn.Parameter(torch.zeros(config.width))

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        z, present = add_empty(self.empty, *self.branches(h, batch))
        return to_all_tasks((self.weights(present).unsqueeze(2) * z).sum(1), batch)

    def weights(self, present: Tensor) -> Tensor:
        """Weights ``[B, S + 1]`` of the slots and of having none; each row sums to 1."""
        scores = torch.cat([self.scores, self.scores.new_zeros(1)])
        return masked_softmax(scores.expand(len(present), -1), present)


def make(types: GraphTypes, config: NetworkConfig) -> WeightedFusion:
    """A `WeightedFusion`."""
    return WeightedFusion(types, config)
