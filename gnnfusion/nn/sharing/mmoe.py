"""Multi-gate mixture of experts: trunks that no task owns, weighed by each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.pooling import Concat, pool_slots
from gnnfusion.nn.fusion.trunk import GraphTypes
from gnnfusion.nn.sharing.reader import Architecture, read_once, readers


class MMoE(Architecture):
    r"""MMoE after Ma et al., `Modeling task relationships in multi-task learning with multi-gate
    mixture-of-experts <https://doi.org/10.1145/3219819.3220007>`_.

    .. math:: y_t = \sum_e g_{te} f_e(h), \qquad g_t = \mathrm{softmax}(W_t u + b_t), \qquad
              u = b + \sum_{m\ \mathrm{present}} (W_m x_m + b_m)

    with :math:`f_e` the ``network.experts`` trunks and :math:`x_m` the mean of a modality's nodes.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        self.experts = readers(map(str, range(config.experts)), types, config)
        self.pool = Concat(types, config.width)
        self.gates = nn.ModuleDict(
            {t: nn.Linear(config.width, config.experts) for t in types.tasks}
        )

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        one = read_once(batch)
        experts = torch.stack([expert(h, one) for expert in self.experts.values()], 1)
        return self.weights(h, batch) @ experts

    def weights(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        """What each task gives to each expert, ``[B, T, E]``; sums to 1 over experts."""
        u = self.pool(*pool_slots(h, batch))
        return torch.stack([self.gates[t](u) for t in batch.tasks], 1).softmax(2)


def make(types: GraphTypes, config: NetworkConfig) -> MMoE:
    """An `MMoE`."""
    return MMoE(types, config)
