"""Hard sharing: one trunk and one vector for all tasks."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion import find_fusion, make_fusion
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk, to_all_tasks
from gnnfusion.nn.sharing.reader import Architecture, Reader, read_once


class HardSharing(Architecture):
    r"""Feature-sharing network after Caruana, `Multitask learning
    <https://doi.org/10.1023/A:1007379606734>`_.

    .. math:: y_t = f(h)\ \text{for all}\ t

    with f the one trunk; only heads belong to tasks. A fusion with task nodes is read off a single
    node instead, so that there really is but one representation.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        self.reader = Reader(types, config)

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        return to_all_tasks(self.reader(h, read_once(batch)), batch)


def make(types: GraphTypes, config: NetworkConfig) -> Trunk:
    """A `HardSharing`; a fusion without task nodes is one as it is."""
    if find_fusion(config.fusion).uses_task_nodes:
        return HardSharing(types, config)
    return make_fusion(types, config)
