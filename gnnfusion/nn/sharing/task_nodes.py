"""Tasks as nodes of each sample's graph: the fusion itself is the architecture."""

from __future__ import annotations

from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion import make_fusion
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk


def make(types: GraphTypes, config: NetworkConfig) -> Trunk:
    r"""The fusion's own trunk, with a node per task.

    .. math:: (y_1, \dots, y_T) = f(h; q_1, \dots, q_T), \qquad
              q_t = e_t + [\text{label shown}]\, E_t(\text{label})

    with :math:`e_t` the task's embedding. Tasks read modalities, and each other, inside the trunk.
    Task nodes alone can carry known labels, an idea shared with MetaLink (`arXiv:2303.07666
    <https://arxiv.org/abs/2303.07666>`_), whose task nodes stand beside the samples of a data set;
    ours are inside each sample, so that no sample sees another.
    """
    return make_fusion(types, config)
