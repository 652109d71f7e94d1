"""Early fusion: modalities are joined before any of them has a network of its own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.pooling import MLP, Concat, pool_slots
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk, to_all_tasks


class EarlyFusion(Trunk):
    r"""Early fusion after Snoek et al., `Early versus late fusion in semantic video analysis
    <https://doi.org/10.1145/1101149.1101236>`_.

    .. math:: y = f(b + W [x_1; \dots; x_S;\ \mathrm{mask}])

    with :math:`x_s` the mean of slot s as the encoder gives it, and f one network for all. (What
    stands before the mean, an encoder per modality, is part of every network here, since nodes of
    different modalities differ in shape.)
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        self.concat = Concat(types, config.width)
        self.net = MLP(config)

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        return to_all_tasks(self.net(self.concat(*pool_slots(h, batch))), batch)


def make(types: GraphTypes, config: NetworkConfig) -> EarlyFusion:
    """An `EarlyFusion`."""
    return EarlyFusion(types, config)
