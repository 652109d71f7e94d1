"""Graph fusion by attention that ranks sources anew for each target (arXiv:2105.14491).

The operator is `gnnfusion.nn.conv.gatv2`, the layer `gnnfusion.nn.fusion.graph.TypedLayer`.
"""

from __future__ import annotations

from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.graph import GraphFusion, typed_layers
from gnnfusion.nn.fusion.trunk import GraphTypes


def make(types: GraphTypes, config: NetworkConfig) -> GraphFusion:
    """GATv2 layers."""
    return typed_layers(types, config, "gatv2")
