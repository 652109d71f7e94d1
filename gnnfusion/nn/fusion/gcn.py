"""Graph fusion by degree-normalized convolutions (arXiv:1609.02907).

The operator is `gnnfusion.nn.conv.gcn`, the layer `gnnfusion.nn.fusion.graph.TypedLayer`.
"""

from __future__ import annotations

from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.graph import GraphFusion, typed_layers
from gnnfusion.nn.fusion.trunk import GraphTypes


def make(types: GraphTypes, config: NetworkConfig) -> GraphFusion:
    """GCN layers."""
    return typed_layers(types, config, "gcn")
