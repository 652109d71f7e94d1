"""Cross-stitch networks: a trunk per task, mixed feature by feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.pooling import Residual
from gnnfusion.nn.fusion.trunk import GraphTypes
from gnnfusion.nn.sharing.reader import Architecture, read_once, readers

OWN = 0.9  # of each task's own vector to begin with; the others share the rest equally


class CrossStitchUnit(nn.Module):
    r"""Weights of every task in every task, for each feature.

    .. math:: y_t = \textstyle\sum_s \alpha_{ts} \odot x_s

    Parameters
    ----------
    tasks
        Their names, which the weights are kept by.
    width
        Features of a vector.
    """

    def __init__(self, tasks: Sequence[str], width: int) -> None:
        super().__init__()
        other = (1 - OWN) / max(1, len(tasks) - 1)
        self.weights = nn.ModuleDict(
            {
                t: nn.ParameterDict(
                    {s: nn.Parameter(torch.full((width,), OWN if s == t else other)) for s in tasks}
                )
                for t in tasks
            }
        )

    def forward(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Vectors by task ``[B, width]`` to as many."""
        return {
            t: torch.stack([weights[s] * x[s] for s in x]).sum(0)  # type: ignore[index]
            for t, weights in self.weights.items()
        }


class CrossStitch(Architecture):
    r"""Cross-stitch network after `arXiv:1604.03539 <https://arxiv.org/abs/1604.03539>`_.

    .. math:: x^1_t = f_t(h), \qquad y^l = \mathrm{unit}_l(x^l), \qquad
              x^{l+1}_t = \mathrm{layer}_{lt}(y^l_t)

    with :math:`f_t` the trunk of task t and :math:`y^L_t` what its head reads. The paper's units
    stand after blocks of a convolutional network; fusions differ too much inside for that, so here
    the first unit mixes what the trunks give, and ``network.levels`` - 1 more follow after a
    residual layer of each task.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        tasks, width = types.tasks, config.width
        self.trunks = readers(tasks, types, config)
        self.units = nn.ModuleList(CrossStitchUnit(tasks, width) for _ in range(config.levels))
        self.layers = nn.ModuleList(
            nn.ModuleDict({t: Residual(width, config.dropout) for t in tasks})
            for _ in range(config.levels - 1)
        )

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        one = read_once(batch)
        y = self.units[0]({t: trunk(h, one) for t, trunk in self.trunks.items()})
        for layer, unit in zip(self.layers, self.units[1:], strict=True):
            y = unit({t: layer[t](x) for t, x in y.items()})  # type: ignore[index]
        return torch.stack([y[t] for t in batch.tasks], 1)


def make(types: GraphTypes, config: NetworkConfig) -> CrossStitch:
    """A `CrossStitch`."""
    return CrossStitch(types, config)
