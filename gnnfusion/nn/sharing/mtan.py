"""Task attention: one trunk, and a soft mask over its features per task."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.pooling import Concat, pool_slots
from gnnfusion.nn.fusion.trunk import GraphTypes
from gnnfusion.nn.sharing.reader import Architecture, Reader, read_once


class MTAN(Architecture):
    r"""Multi-task attention network after `arXiv:1803.10704 <https://arxiv.org/abs/1803.10704>`_.

    .. math:: y_t = a_t \odot z, \qquad a_t = \sigma(V_t\, \mathrm{GELU}(U_t [u; z])), \qquad
              z = f(h), \qquad u = b + \sum_{m\ \mathrm{present}} (W_m x_m + b_m)

    with f the one trunk and :math:`x_m` the mean of a modality's nodes. As in the paper a mask is
    made from features before the block (u) and applied to those after it (z); the block here is the
    trunk, and a layer norm over u and z each stands for the paper's batch norm, which would let
    samples see each other.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.reader = Reader(types, config)
        self.pool = Concat(types, width)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = nn.ModuleDict(
            {
                t: nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))
                for t in types.tasks
            }
        )

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        z = self.reader(h, read_once(batch))
        u = self.pool(*pool_slots(h, batch))
        both = torch.cat([self.before(u), self.after(z)], 1)
        masks = torch.stack([self.attend[t](both) for t in batch.tasks], 1).sigmoid()
        return masks * z.unsqueeze(1)


def make(types: GraphTypes, config: NetworkConfig) -> MTAN:
    """An `MTAN`."""
    return MTAN(types, config)
