"""Graph fusion by the heterogeneous graph Transformer (HGT)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter, softmax

from gnnfusion.graphs.topology import Edges, EdgeType
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.conv import check_heads
from gnnfusion.nn.fusion.graph import GraphFusion, LayerTypes, layer_types, relation_name
from gnnfusion.nn.fusion.trunk import GraphTypes


class HGTLayer(nn.Module):
    r"""A round of messages after `arXiv:2003.01332 <https://arxiv.org/abs/2003.01332>`_.

    .. math:: h_j' = (1 - \sigma(s_t))\, h_j + \sigma(s_t)\, \mathrm{drop}(A_t\,
              \mathrm{GELU}(\textstyle\sum_{r, i \in N_r(j)} \alpha_{rij} \, W_r V_i))

    with :math:`\alpha` the softmax over the edges of all relations that reach j of
    :math:`p_r \, (U_r K_i) \cdot Q_j / \sqrt d`. Keys K, queries Q and values V are linear in the
    node by its type, :math:`U_r, W_r` belong to the relation; all per head.

    Parameters
    ----------
    of
        Types that it updates, and the relations to them.
    width, heads, dropout
        Features of a node; attention heads; probability of dropping an output.
    """

    def __init__(self, of: LayerTypes, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        check_heads(width, heads)
        self.targets, self.relations, self.heads = of.targets, of.relations, heads
        size = width // heads
        self.key_query_value = nn.ModuleDict({t: nn.Linear(width, 3 * width) for t in of.nodes})
        self.out = nn.ModuleDict({t: nn.Linear(width, width) for t in of.reached})
        self.skip = nn.ParameterDict({t: nn.Parameter(torch.ones(1)) for t in of.reached})
        names = [relation_name(kind) for kind in self.relations]
        self.key_map = nn.ParameterDict({r: _square(heads, size) for r in names})
        self.value_map = nn.ParameterDict({r: _square(heads, size) for r in names})
        self.prior = nn.ParameterDict({r: nn.Parameter(torch.ones(heads)) for r in names})
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, h: Mapping[str, Tensor], edges: Mapping[EdgeType, Edges]
    ) -> dict[str, Tensor]:
        keys, queries, values = {}, {}, {}
        for t, linear in self.key_query_value.items():
            parts = linear(h[t]).unflatten(1, (3, self.heads, -1))
            keys[t], queries[t], values[t] = parts.unbind(1)
        out = {}
        for t in self.targets:
            x = h[t]
            incoming = [kind for kind in self.relations if kind[2] == t]
            if not incoming:
                out[t] = x
                continue
            score, value = [], []
            for kind in incoming:
                name, (i, j) = relation_name(kind), edges[kind].index
                key = torch.einsum("nhd,hde->nhe", keys[kind[0]], self.key_map[name])
                sent = torch.einsum("nhd,hde->nhe", values[kind[0]], self.value_map[name])
                score.append((key[i] * queries[t][j]).sum(2) * self.prior[name])
                value.append(sent[i])
            target = torch.cat([edges[kind].index[1] for kind in incoming])
            scale = queries[t].shape[2] ** -0.5
            weight = softmax(torch.cat(score) * scale, target, num_nodes=len(x))
            parts = weight.unsqueeze(2) * torch.cat(value)
            message = scatter(parts, target, 0, len(x), reduce="sum")
            share = self.skip[t].sigmoid()
            update = self.dropout(self.out[t](nn.functional.gelu(message.flatten(1))))
            out[t] = share * update + (1 - share) * x
        return out


def _square(heads: int, size: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, size, size)))


def make(types: GraphTypes, config: NetworkConfig) -> GraphFusion:
    """HGT layers."""
    return GraphFusion(
        HGTLayer(of, config.width, config.heads, config.dropout)
        for of in layer_types(types, config.layers)
    )
