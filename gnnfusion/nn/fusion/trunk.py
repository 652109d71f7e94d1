"""What every fusion is: a trunk from encoded nodes to one vector per sample and task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.graphs.topology import EdgeType

Heads = nn.ModuleDict | Mapping[str, nn.Module]


@dataclass(frozen=True)
class GraphTypes:
    """What the graphs of a store may hold: all that a trunk is made from, besides sizes.

    Parameters
    ----------
    modalities, tasks
        Names, in the schema's order.
    relations
        Edge types of the topology.
    has_context
        Whether samples bring the nodes of neighbouring rows.
    """

    modalities: tuple[str, ...]
    tasks: tuple[str, ...]
    relations: tuple[EdgeType, ...]
    has_context: bool = False


class Trunk(nn.Module):
    """Base of all fusions; `forward` is what a fusion defines.

    Whatever it does, a sample's vectors depend on that sample's nodes alone, and a modality that
    the sample lacks contributes exactly nothing.
    """

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        """Encoded nodes by type ``[n, width]`` to one vector per task, ``[B, T, width]``.

        Nodes of type ``task`` ``[B * T, width]``, which may carry known labels, are there only for
        fusions that the registry marks as reading them.
        """
        raise NotImplementedError

    def read(self, h: Mapping[str, Tensor], batch: GraphBatch, heads: Heads) -> dict[str, Tensor]:
        """Outputs of the tasks whose heads are given: each head on its task's vector."""
        x = self(h, batch)
        return {t: heads[t](x[:, place]) for place, t in enumerate(batch.tasks) if t in heads}

    def penalty(self) -> Tensor | float:
        """What the trunk itself adds to the training loss; most add nothing."""
        return 0.0


def to_all_tasks(x: Tensor, batch: GraphBatch) -> Tensor:
    """One vector per sample ``[B, width]`` for each of its tasks, ``[B, T, width]``."""
    return x.unsqueeze(1).expand(-1, len(batch.tasks), -1)
