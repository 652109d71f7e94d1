"""Graph fusion whose relations share their weights through bases (RGCN)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnfusion.graphs.topology import Edges, EdgeType
from gnnfusion.kernels.edge_sum import edge_mean
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.graph import (
    GraphFusion,
    LayerTypes,
    TypedLayer,
    layer_types,
    relation_name,
)
from gnnfusion.nn.fusion.trunk import GraphTypes

BASES = 4


class RGCNLayer(TypedLayer):
    r"""A round of messages after `arXiv:1703.06103 <https://arxiv.org/abs/1703.06103>`_.

    .. math:: m^r_j = \frac{1}{|N_r(j)|} \sum_{i \in N_r(j)} W_r h_i, \qquad
              W_r = \sum_b a_{rb} V_b

    and :math:`W_t h_j` of the node itself. All relations mix the same bases :math:`V_b`, so a
    relation with few edges borrows from the others; `gnnfusion.nn.fusion.sage` gives each relation
    weights of its own.

    Parameters
    ----------
    of
        Types that it updates, and the relations to them.
    width, dropout
        Features of a node; probability of dropping one.
    """

    reads_target = False

    def __init__(self, of: LayerTypes, width: int, dropout: float) -> None:
        super().__init__(of.targets, of.relations, width, dropout, root=True)
        self.bases = nn.Parameter(torch.randn(BASES, width, width) / width**0.5)
        self.mix = nn.ParameterDict(
            {
                relation_name(r): nn.Parameter(torch.randn(BASES) / BASES**0.5)
                for r in self.relations
            }
        )

    def message(self, kind: EdgeType, source: Tensor, target: Tensor, edges: Edges) -> Tensor:
        mean = edge_mean(source, edges.index, len(target))
        weight = torch.einsum("b,bij->ij", self.mix[relation_name(kind)], self.bases)
        return mean @ weight


def make(types: GraphTypes, config: NetworkConfig) -> GraphFusion:
    """RGCN layers."""
    return GraphFusion(
        RGCNLayer(of, config.width, config.dropout) for of in layer_types(types, config.layers)
    )
