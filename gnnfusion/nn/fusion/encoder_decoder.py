"""The two-part Transformer: nodes are encoded, and each task asks with a query of its own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.graphs.topology import TASK
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.attention import Attend, Block, FeedForward, Marks, pad_all
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk


class EncoderDecoderFusion(Trunk):
    r"""Encoder and decoder with learned queries, as in `arXiv:2005.12872
    <https://arxiv.org/abs/2005.12872>`_.

    .. math:: M = \mathrm{LN}(\mathrm{Encoder}(h_1, \dots, h_n)), \qquad
              y = \mathrm{Decoder}(q_1, \dots, q_T; M)

    A decoder layer is self-attention among the queries, attention from the queries to M, and a
    perceptron. The queries are the task nodes, which may carry known labels; nodes never see them.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        sizes = config.width, config.heads, config.dropout
        self.marks = Marks(types, config.width)
        self.encoder = nn.ModuleList(Block(*sizes) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.among = nn.ModuleList(Attend(*sizes) for _ in range(config.layers))
        self.ask = nn.ModuleList(Attend(*sizes) for _ in range(config.layers))
        self.feed = nn.ModuleList(
            FeedForward(config.width, config.dropout) for _ in range(config.layers)
        )

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        nodes = pad_all(self.marks(h, batch), batch)
        memory = nodes.x
        for block in self.encoder:
            memory = block(memory, nodes.present)
        memory = self.norm(memory)
        x = h[TASK].unflatten(0, (len(batch), len(batch.tasks)))
        all_tasks = nodes.present.new_ones(x.shape[:2])
        for among, ask, feed in zip(self.among, self.ask, self.feed, strict=True):
            x = feed(ask(among(x, all_tasks), nodes.present, memory))
        return x


def make(types: GraphTypes, config: NetworkConfig) -> EncoderDecoderFusion:
    """An `EncoderDecoderFusion`."""
    return EncoderDecoderFusion(types, config)
