"""Low-rank tensor fusion: the outer product of all modalities, never formed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.pooling import Factors
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk, to_all_tasks

RANK = 8


class LowRankFusion(Trunk):
    r"""A tensor of rank R contracted with the outer product, after `arXiv:1806.00064
    <https://arxiv.org/abs/1806.00064>`_.

    .. math:: y = b + \sum_{r=1}^R w_r \odot \prod_m (1 + U_m^r z_m)

    with :math:`z_m` the modality's vector: the tensor whose rank-one terms are
    :math:`w_r \otimes_m [1; U_m^r]`. The paper's factors for the constant 1 are fixed at 1 (what
    they scale is in :math:`w_r`), so the factor of an absent modality is exactly 1.

    Parameters
    ----------
    rank
        Number R of rank-one terms.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig, rank: int = RANK) -> None:
        super().__init__()
        width = config.width
        self.factors = Factors(types, config, width)
        self.maps = nn.ModuleDict(
            {name: nn.Linear(width, rank * width, bias=False) for name in types.modalities}
        )
        self.weight = nn.Parameter(torch.randn(rank, width) / rank**0.5)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        z, _ = self.factors(h, batch)
        return to_all_tasks(self.contract(z), batch)

    def contract(self, z: Tensor) -> Tensor:
        """``[B, M, width]`` to ``[B, width]``; a modality of zeros leaves the product as it is."""
        product = torch.ones_like(self.weight)
        for m, linear in enumerate(self.maps.values()):
            product = product * (1 + linear(z[:, m]).unflatten(1, self.weight.shape))
        return (self.weight * product).sum(1) + self.bias


def make(types: GraphTypes, config: NetworkConfig) -> LowRankFusion:
    """A `LowRankFusion`."""
    return LowRankFusion(types, config)
