"""Graph fusion that learns which modality serves which task, and which task which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.graphs.topology import TASK, Edges, EdgeType
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.conv import make_conv
from gnnfusion.nn.fusion.graph import (
    GraphFusion,
    LayerTypes,
    TypedLayer,
    layer_types,
    relation_name,
)
from gnnfusion.nn.fusion.trunk import GraphTypes

STRETCH = 0.1  # how far the sigmoid reaches beyond 0 and 1 before it is cut
SPARSITY = 0.05  # price of all gates open, in units of the training loss
START, SPEED = 1.0, 30.0  # logit at the start; how much faster than other parameters logits move


def hard_sigmoid(logit: Tensor) -> Tensor:
    r"""The stretched and cut sigmoid of the hard concrete distribution, without its noise.

    .. math:: g(a) = \min(1, \max(0, (1 + 2 \epsilon)\, \sigma(a) - \epsilon))
    """
    return ((1 + 2 * STRETCH) * logit.sigmoid() - STRETCH).clamp(0, 1)


class GatedLayer(TypedLayer):
    """A `TypedLayer` whose edges may carry gates ``[E]`` as their attribute.

    Relations between tasks are means of linear maps, gated edge by edge: under a softmax, a closed
    gate would still leave its trace in the weights of the others.
    """

    def message(self, kind: EdgeType, source: Tensor, target: Tensor, edges: Edges) -> Tensor:
        if edges.attr is None:
            return super().message(kind, source, target, edges)
        i, j = edges.index
        if kind[0] == TASK:
            sent = self.convs[relation_name(kind)](source)[i]
            return scatter(edges.attr.unsqueeze(1) * sent, j, 0, len(target), reduce="mean")
        # The edges of a relation that reach one node share their gate.
        gate = scatter(edges.attr, j, 0, len(target), reduce="mean")
        return gate.unsqueeze(1) * super().message(kind, source, target, edges)


class LearnedTopology(GraphFusion):
    r"""GATv2 layers with gates, after the L0 regularization of `arXiv:1712.01312
    <https://arxiv.org/abs/1712.01312>`_.

    .. math:: m^{\mathrm{modality}\ a}_t = g_{at}\, \mathrm{GATv2}_a(h), \qquad
              m^{\mathrm{tasks}}_t = \frac{1}{T - 1} \sum_{s \ne t} g_{st} W h_s

    with :math:`g = \mathrm{hard\_sigmoid}(a)` in [0, 1], one for each pair (modality, modality),
    (modality, task) and (task, task) that the topology joins, the same in all layers. The loss pays
    for open gates (`penalty`); a gate that reaches 0 is closed for good. Nothing is sampled, so a
    sample's output stays its own.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        def layer(of: LayerTypes) -> GatedLayer:
            width = config.width
            convs = {
                relation_name(kind): nn.Linear(width, width, bias=False)
                if kind[0] == kind[2] == TASK
                else make_conv("gatv2", width, config.heads)
                for kind in of.relations
            }
            return GatedLayer(of.targets, of.relations, width, config.dropout, convs)

        layers = layer_types(types, config.layers)
        super().__init__(layer(of) for of in layers)
        self.types, self.relations = types, layers[0].relations  # the first layer has them all
        # Adam moves any parameter by the learning rate; logits have further to go than weights.
        self.slow = nn.ParameterDict(
            {"__".join(p): nn.Parameter(torch.tensor(START / SPEED)) for p in self._pairs()}
        )

    def _pairs(self) -> list[tuple[str, str, str]]:
        """What is gated: (kind of pair, source, target)."""
        ends = dict.fromkeys((kind[0], kind[2]) for kind in self.relations)
        pairs = []
        for source, target in ends:
            if source == target == TASK:
                pairs += [("relates", s, t) for s, t in permutations(self.types.tasks, 2)]
            elif target == TASK:
                pairs += [("informs", source, task) for task in self.types.tasks]
            elif TASK != source != target:
                pairs.append(("joins", source, target))
        return pairs

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        edges = {
            kind: Edges(batch.edges[kind].index, self._edge_gates(kind, batch.edges[kind].index))
            for kind in self.relations
        }
        return super().forward(h, replace(batch, edges=edges))

    def _edge_gates(self, kind: EdgeType, index: Tensor) -> Tensor | None:
        """Gate of each edge ``[E]`` of a relation that is gated."""
        (source, _, target), tasks = kind, self.types.tasks
        # Task node t of sample b has the index b * T + t.
        i, j = index % len(tasks)
        if source == target == TASK:
            never = torch.ones((), device=index.device)  # no task relates to itself
            pairs = [never if s == t else self._gate("relates", s, t) for s in tasks for t in tasks]
            return torch.stack(pairs)[i * len(tasks) + j]
        if target == TASK:
            return torch.stack([self._gate("informs", source, t) for t in tasks])[j]
        if TASK != source != target:
            return self._gate("joins", source, target).expand(index.shape[1])
        return None

    def _gate(self, *pair: str) -> Tensor:
        return hard_sigmoid(SPEED * self.slow["__".join(pair)])

    @torch.no_grad()
    def gates(self) -> dict[tuple[str, str], float]:
        """How open each gate is, by (source, target); between 0 and 1."""
        return {(s, t): float(self._gate(kind, s, t)) for kind, s, t in self._pairs()}

    def penalty(self) -> Tensor | float:
        """`SPARSITY` times the mean openness; through the uncut sigmoid, which has a slope at 1."""
        if not len(self.slow):
            return 0.0
        return SPARSITY * (SPEED * torch.stack(list(self.slow.values()))).sigmoid().mean()


def make(types: GraphTypes, config: NetworkConfig) -> LearnedTopology:
    """A `LearnedTopology`."""
    return LearnedTopology(types, config)
