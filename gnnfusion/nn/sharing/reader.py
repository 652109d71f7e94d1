"""What architectures are made of: trunks that read a sample into one vector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.graphs.topology import TASK
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion import find_fusion, make_fusion
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk

READOUT = "readout"


def read_once(batch: GraphBatch) -> GraphBatch:
    """The same samples with one node to read in place of a node per task, and without labels.

    Rules treat tasks alike, so that node has the edges that the first task has.
    """
    one = batch.only(batch.tasks[0])
    return replace(one, tasks=(READOUT,), targets={}, masks=one.masks[:, :0])


class Reader(nn.Module):
    """A trunk that reads a sample into one vector, off one node if its fusion has task nodes.

    Parameters
    ----------
    types
        What graphs may hold, with all tasks.
    config
        Fusion and sizes.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        relations = tuple(kind for kind in types.relations if not kind[0] == kind[2] == TASK)
        self.trunk = make_fusion(replace(types, tasks=(READOUT,), relations=relations), config)
        self.node = (
            nn.Parameter(torch.randn(config.width) * 0.5)
            if find_fusion(config.fusion).uses_task_nodes
            else None
        )

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        """Nodes of modalities and a batch that is `read_once` to vectors ``[B, width]``."""
        if self.node is not None:
            h = {**h, TASK: self.node.expand(len(batch), -1)}
        out: Tensor = self.trunk(h, batch)
        return out[:, 0]


def readers(names: Iterable[str], types: GraphTypes, config: NetworkConfig) -> nn.ModuleDict:
    """A `Reader` of its own for each name."""
    return nn.ModuleDict({name: Reader(types, config) for name in names})


class Architecture(Trunk):
    """Base of architectures that are made of readers."""

    def penalty(self) -> Tensor | float:
        """Mean over the trunks of what each adds: many do not weigh more than one."""
        parts = [part.trunk.penalty() for part in self.modules() if isinstance(part, Reader)]
        return sum(parts) / len(parts)
