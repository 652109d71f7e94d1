r"""Graph fusion by the mean of each relation's sources, in the manner of GraphSAGE.

.. math:: h_j' = h_j + \mathrm{drop}(\mathrm{GELU}(\mathrm{LN}_t(b_t + W_t h_j
          + \textstyle\sum_r W_r \, \mathrm{mean}_{i \in N_r(j)} h_i)))

after `arXiv:1706.02216 <https://arxiv.org/abs/1706.02216>`_, with weights of its own for each
relation; the layer norm stands for the paper's projection to the unit sphere.
"""

from __future__ import annotations

from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.graph import GraphFusion, typed_layers
from gnnfusion.nn.fusion.trunk import GraphTypes


def make(types: GraphTypes, config: NetworkConfig) -> GraphFusion:
    """GraphSAGE layers; each adds the node's own features, linearly mapped."""
    return typed_layers(types, config, "sage", root=True)
