"""Modal-temporal attention with pruning: each node keeps its strongest incoming edges alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter, softmax

from gnnfusion.graphs.index import rank_within
from gnnfusion.graphs.topology import Edges, EdgeType
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.conv import check_heads
from gnnfusion.nn.fusion.graph import GraphFusion, LayerTypes, layer_types, relation_name
from gnnfusion.nn.fusion.trunk import GraphTypes

KEEP = 16  # edges per node and layer


def strongest(score: Tensor, target: Tensor, keep: int) -> Tensor:
    """Which edges ``[E]`` are among the `keep` highest scores ``[E]`` of their target."""
    return rank_within(target, -score) < keep


class MTAGLayer(nn.Module):
    r"""A round of messages after `arXiv:2010.11985 <https://arxiv.org/abs/2010.11985>`_.

    .. math:: h_j' = h_j + \mathrm{drop}\Bigl(\mathrm{GELU}\bigl(\mathrm{LN}_t(b_t
              + \textstyle\sum_{(r, i) \in K(j)} \alpha_{rij} W_t h_i)\bigr)\Bigr)

    with :math:`\alpha` the softmax over K(j) of the score :math:`a_r \cdot \mathrm{LeakyReLU}(
    W_t h_i + V_t h_j)` per head, and K(j) the `keep` edges that reach j with the highest score,
    mean over heads, of whatever relation. W and V are linear in the node by its type; relations
    differ in :math:`a_r`. The paper's edge types, pairs of modalities and past, present or future,
    are what the rules ``ordered`` and ``temporal`` make; any relations of the topology will do.

    Parameters
    ----------
    of
        Types that it updates, and the relations to them.
    width, heads, dropout
        Features of a node; attention heads; probability of dropping an output.
    keep
        Edges that a node keeps.
    """

    def __init__(
        self, of: LayerTypes, width: int, heads: int, dropout: float, keep: int = KEEP
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        self.relations, self.heads, self.keep = of.relations, heads, keep
        self.send = nn.ModuleDict({t: nn.Linear(width, width, bias=False) for t in of.sources})
        self.receive = nn.ModuleDict({t: nn.Linear(width, width, bias=False) for t in of.reached})
        size = width // heads
        self.score = nn.ParameterDict(
            {relation_name(r): nn.Parameter(torch.randn(heads, size) / size**0.5)
             for r in self.relations}
        )  # fmt: skip
        self.bias = nn.ParameterDict({t: nn.Parameter(torch.zeros(width)) for t in of.targets})
        self.norm = nn.ModuleDict({t: nn.LayerNorm(width) for t in of.targets})
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, h: Mapping[str, Tensor], edges: Mapping[EdgeType, Edges]
    ) -> dict[str, Tensor]:
        sent = {t: send(h[t]).unflatten(1, (self.heads, -1)) for t, send in self.send.items()}
        out = {}
        for t, bias in self.bias.items():
            x = h[t]
            message = bias.expand_as(x)
            incoming = [kind for kind in self.relations if kind[2] == t]
            if incoming:
                value, weight, target = self.attend(t, x, sent, incoming, edges)
                parts = (weight.unsqueeze(2) * value).flatten(1)
                message = message + scatter(parts, target, 0, len(x), reduce="sum")
            step = nn.functional.gelu(self.norm[t](message))
            out[t] = x + self.dropout(step)
        return out

    def attend(
        self,
        kind: str,
        x: Tensor,
        sent: Mapping[str, Tensor],
        incoming: list[EdgeType],
        edges: Mapping[EdgeType, Edges],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of the edges that nodes of a type keep: values, weights ``[K, heads]``, targets."""
        received = self.receive[kind](x).unflatten(1, (self.heads, -1))
        values, scores = [], []
        for relation in incoming:
            i, j = edges[relation].index
            value = sent[relation[0]][i]
            both = nn.functional.leaky_relu(value + received[j], 0.2)
            values.append(value)
            scores.append((both * self.score[relation_name(relation)]).sum(2))
        value, score = torch.cat(values), torch.cat(scores)
        target = torch.cat([edges[relation].index[1] for relation in incoming])
        kept = strongest(score.detach().mean(1), target, self.keep)
        value, score, target = value[kept], score[kept], target[kept]
        return value, softmax(score, target, num_nodes=len(x)), target


def make(types: GraphTypes, config: NetworkConfig) -> GraphFusion:
    """MTAG layers."""
    return GraphFusion(
        MTAGLayer(of, config.width, config.heads, config.dropout)
        for of in layer_types(types, config.layers)
    )
