"""Late fusion: every modality predicts for itself, and predictions are averaged."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.pooling import Branches, add_empty, masked_softmax, slot_names
from gnnfusion.nn.fusion.trunk import GraphTypes, Heads, Trunk


class LateFusion(Trunk):
    r"""Late fusion after Snoek et al., `Early versus late fusion in semantic video analysis
    <https://doi.org/10.1145/1101149.1101236>`_.

    .. math:: o_t = \sum_{s \in P} w_{ts} \, \mathrm{head}_t(f_s(x_s)), \qquad
              w_t = \mathrm{softmax}_{s \in P}(a_{ts})

    with P the present slots, :math:`x_s` the mean of slot s, :math:`f_s` its own network and
    :math:`o_t` the outputs of task t (logits or values). Weights begin equal. The head is applied
    to each modality apart, since a head of the mean is not the mean of the heads: so `read` is what
    makes this fusion late, and `forward`, which gives the weighted mean of the vectors, is not.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        self.branches = Branches(types, config)
        slots = len(slot_names(types))
        self.scores = nn.ParameterDict({t: nn.Parameter(torch.zeros(slots)) for t in types.tasks})
        self.empty = nn.Parameter(torch.zeros(config.width))

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        z, present = add_empty(self.empty, *self.branches(h, batch))
        weights = torch.stack([self.weights(task, present) for task in batch.tasks], 1)
        return weights @ z

    def read(self, h: Mapping[str, Tensor], batch: GraphBatch, heads: Heads) -> dict[str, Tensor]:
        """Outputs per task: the weighted mean of its head on every slot's vector."""
        z, present = add_empty(self.empty, *self.branches(h, batch))
        return {
            task: (self.weights(task, present).unsqueeze(2) * by_slot(heads[task], z)).sum(1)
            for task in batch.tasks if task in heads
        }  # fmt: skip

    def weights(self, task: str, present: Tensor) -> Tensor:
        """A task's weights ``[B, S + 1]`` of the slots and of having none; rows sum to 1."""
        scores = torch.cat([self.scores[task], self.scores[task].new_zeros(1)])
        return masked_softmax(scores.expand(len(present), -1), present)


def by_slot(head: nn.Module, z: Tensor) -> Tensor:
    """A head's outputs on every slot, ``[B, S, K]``."""
    out: Tensor = head(z.flatten(0, 1))
    return out.unflatten(0, z.shape[:2])


def make(types: GraphTypes, config: NetworkConfig) -> LateFusion:
    """A `LateFusion`."""
    return LateFusion(types, config)
