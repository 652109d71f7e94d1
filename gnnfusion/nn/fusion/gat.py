"""Graph fusion by attention over the edges of each relation (arXiv:1710.10903).

The operator is `gnnfusion.nn.conv.gat`, the layer `gnnfusion.nn.fusion.graph.TypedLayer`.
"""

from __future__ import annotations

from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.graph import GraphFusion, typed_layers
from gnnfusion.nn.fusion.trunk import GraphTypes


def make(types: GraphTypes, config: NetworkConfig) -> GraphFusion:
    """GAT layers."""
    return typed_layers(types, config, "gat")
