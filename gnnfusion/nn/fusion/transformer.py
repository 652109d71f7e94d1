"""A Transformer over all nodes of a sample, tasks among them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.graphs.topology import TASK
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.attention import Block, Marks, pad_all
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk


class TransformerFusion(Trunk):
    r"""Encoder after `arXiv:1706.03762 <https://arxiv.org/abs/1706.03762>`_, with a token per task.

    .. math:: X^0 = [q_1, \dots, q_T; h_1, \dots, h_n], \qquad
              X^{l+1} = \mathrm{Block}_l(X^l), \qquad y_t = X^L_t

    with :math:`q_t` the task nodes, which may carry known labels, and :math:`h_i` the nodes of all
    modalities, each with a learned mark (`Marks`). The wiring of the topology is not used:
    every token sees every other of its sample.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        self.marks = Marks(types, config.width)
        self.layers = nn.ModuleList(
            Block(config.width, config.heads, config.dropout) for _ in range(config.layers)
        )

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        nodes = pad_all(self.marks(h, batch), batch)
        tasks = h[TASK].unflatten(0, (len(batch), len(batch.tasks)))
        x = torch.cat([tasks, nodes.x], 1)
        present = torch.cat([tasks.new_ones(tasks.shape[:2], dtype=torch.bool), nodes.present], 1)
        for block in self.layers:
            x = block(x, present)
        return x[:, : len(batch.tasks)]


def make(types: GraphTypes, config: NetworkConfig) -> TransformerFusion:
    """A `TransformerFusion`."""
    return TransformerFusion(types, config)
