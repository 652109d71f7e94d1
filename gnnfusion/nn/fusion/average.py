"""The plain mean of the modalities that are there."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.pooling import Branches, add_empty
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk, to_all_tasks


class AverageFusion(Trunk):
    r"""Mean over the slots that are there (survey: `arXiv:1705.09406
    <https://arxiv.org/abs/1705.09406>`_).

    .. math:: y = \frac{1}{|P|} \sum_{s \in P} f_s(x_s)

    with P the present slots, :math:`x_s` the mean of slot s and :math:`f_s` its own network. A
    sample with nothing at all gets a learned vector.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        self.branches = Branches(types, config)
        self.empty = nn.Parameter(torch.zeros(config.width))

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        z, present = add_empty(self.empty, *self.branches(h, batch))
        # Absent slots are exactly 0, so only the others count in the sum too.
        total = torch.where(present.unsqueeze(2), z, z.new_zeros(())).sum(1)
        return to_all_tasks(total / present.sum(1, keepdim=True), batch)


def make(types: GraphTypes, config: NetworkConfig) -> AverageFusion:
    """An `AverageFusion`."""
    return AverageFusion(types, config)
