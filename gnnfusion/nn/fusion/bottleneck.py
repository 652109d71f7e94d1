"""Transformers per modality that exchange what they know through a few bottleneck tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.attention import Block, Marks
from gnnfusion.nn.fusion.padding import pad
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk, to_all_tasks

TOKENS = 4


class BottleneckFusion(Trunk):
    r"""Attention bottlenecks after `arXiv:2107.00135 <https://arxiv.org/abs/2107.00135>`_.

    .. math:: [Z_m'; B_m'] = \mathrm{Block}_m([Z_m; B]), \qquad
              B' = \frac{1}{|P|} \sum_{m \in P} B_m'

    with P the present modalities; without any, B stays. The output is :math:`b + W\,
    \mathrm{vec}(B)` after the last layer: all that a task reads of a modality has passed through
    the bottleneck (the paper averages class tokens of the modalities instead).
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.tokens = nn.Parameter(torch.randn(TOKENS, width) * 0.5)
        self.marks = Marks(types, width)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {name: Block(width, config.heads, config.dropout) for name in types.modalities}
            )
            for _ in range(config.layers)
        )
        self.out = nn.Linear(TOKENS * width, width)

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        rows = {
            m: pad(x, batch.node_sample(m), len(batch)) for m, x in self.marks(h, batch).items()
        }
        x = {m: row.x for m, row in rows.items()}
        shared = self.tokens.expand(len(batch), -1, -1)
        always = torch.ones(shared.shape[:2], dtype=torch.bool, device=shared.device)
        for layer in self.layers:
            told, count = torch.zeros_like(shared), shared.new_zeros(len(batch), 1, 1)
            for m, block in layer.items():  # type: ignore[operator]
                here = rows[m].present
                both = block(torch.cat([shared, x[m]], 1), torch.cat([always, here], 1))
                x[m] = both[:, TOKENS:]
                some = here.any(1)[:, None, None]
                told = told + torch.where(some, both[:, :TOKENS], both.new_zeros(()))
                count = count + some
            shared = torch.where(count > 0, told / count.clamp_min(1), shared)
        return to_all_tasks(self.out(shared.flatten(1)), batch)


def make(types: GraphTypes, config: NetworkConfig) -> BottleneckFusion:
    """A `BottleneckFusion`."""
    return BottleneckFusion(types, config)
