"""Concatenation of the modalities, each after a network of its own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.pooling import Branches, Concat
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk, to_all_tasks


class ConcatFusion(Trunk):
    r"""Intermediate fusion after Ngiam et al., `Multimodal deep learning
    <https://dl.acm.org/doi/10.5555/3104482.3104569>`_.

    .. math:: y = b + W [f_1(x_1); \dots; f_S(x_S);\ \mathrm{mask}]

    with :math:`x_s` the mean of slot s and :math:`f_s` its own network; absent slots are left out.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        self.branches = Branches(types, config)
        self.concat = Concat(types, config.width)

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        return to_all_tasks(self.concat(*self.branches(h, batch)), batch)


def make(types: GraphTypes, config: NetworkConfig) -> ConcatFusion:
    """A `ConcatFusion`."""
    return ConcatFusion(types, config)
