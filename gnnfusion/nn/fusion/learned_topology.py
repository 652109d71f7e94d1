"""Graph fusion that learns which modality serves which task, and which task which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import permutations, product

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
from gnnfusion.nn.hard_concrete import stretched_and_cut
from gnnfusion.nn.reuse import reused

SPARSITY = 0.05  # price of all gates open, in units of the training loss
START, SPEED = 1.0, 30.0  # logit at the start; how much faster than other parameters logits move


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

    with g in [0, 1] the stretched and cut sigmoid of a logit (`stretched_and_cut`), one for each
    pair (modality, modality), (modality, task) and (task, task) that the topology joins, the same
    in all layers and in the means that tasks begin with. The loss pays for open gates (`penalty`);
    a gate that reaches 0 is closed for good. Nothing is sampled, so a sample's output stays its
    own.
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
        self.pairs = self._pairs()
        # Adam moves any parameter by the learning rate; logits have further to go than weights.
        self.slow = nn.ParameterDict(
            {"__".join(p): nn.Parameter(torch.tensor(START / SPEED)) for p in self.pairs}
        )
        # Beside the parameters, so that they are on the same device; what they hold is no weight.
        for kind in self.relations:
            self.register_buffer(f"places_{relation_name(kind)}", self._places(kind), False)

    def _pairs(self) -> list[tuple[str, str, str]]:
        """What is gated: (kind of pair, source, target), whatever relations join them."""
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

    def _places(self, kind: EdgeType) -> Tensor | None:
        """Place in `pairs` of the gate between all ends that a relation can have; None if no gate.

        From task s to task t at ``s * T + t`` of ``[T * T]``, from a modality to task t at t of
        ``[T]``, between modalities ``[1]``.
        """
        (source, _, target), tasks = kind, self.types.tasks
        if source == target == TASK:
            ends = [("relates", s, t) for s, t in product(tasks, tasks)]
        elif target == TASK:
            ends = [("informs", source, t) for t in tasks]
        elif TASK != source != target:
            ends = [("joins", source, target)]
        else:
            return None
        place = {pair: i for i, pair in enumerate(self.pairs)}
        return torch.tensor([place.get(pair, 0) for pair in ends])  # no task relates to itself

    def mean_carried(self, source: Tensor, edges: Edges, tasks: int) -> Tensor:
        i, j = edges.index
        assert edges.attr is not None  # the gates
        return scatter(edges.attr.unsqueeze(1) * source[i], j, 0, tasks, reduce="mean")

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        return super().forward(h, replace(batch, edges=self._gated(batch.edges)))

    def _gated(self, edges: Mapping[EdgeType, Edges]) -> dict[EdgeType, Edges]:
        """The edges of all relations, with their gates ``[E]`` where there are any."""
        gates, tasks = reused((self, "gates"), (), self._gates), len(self.types.tasks)

        def of_edges(kind: EdgeType, index: Tensor) -> Tensor | None:
            places = self.get_buffer(f"places_{relation_name(kind)}")
            if places is None:
                return None
            # Task node t of sample b has the index b * T + t.
            s, t = index % tasks
            ends = s * tasks + t if kind[0] == TASK else t if kind[2] == TASK else 0 * t
            return gates[places[ends]]

        found = {}
        for kind in self.relations:
            index = edges[kind].index
            attr = reused((self, kind), (gates, index), partial(of_edges, kind, index))
            found[kind] = Edges(index, attr)
        return found

    def _gates(self) -> Tensor:
        """All gates ``[P]``, in the order of `pairs`."""
        return stretched_and_cut(self._logits().sigmoid())

    def _logits(self) -> Tensor:
        """All at once: one by one they would take longer than the messages."""
        if not self.pairs:
            return next(self.parameters()).new_zeros(0)
        return SPEED * torch.stack([self.slow["__".join(pair)] for pair in self.pairs])

    @torch.no_grad()
    def gates(self) -> dict[tuple[str, str], float]:
        """How open each gate is, by (source, target); between 0 and 1."""
        values = self._gates().tolist()
        return {(s, t): gate for (_, s, t), gate in zip(self.pairs, values, strict=True)}

    def penalty(self) -> Tensor | float:
        """`SPARSITY` times the mean openness; through the uncut sigmoid, which has a slope at 1."""
        return SPARSITY * self._logits().sigmoid().mean() if self.pairs else 0.0


def make(types: GraphTypes, config: NetworkConfig) -> LearnedTopology:
    """A `LearnedTopology`."""
    return LearnedTopology(types, config)
