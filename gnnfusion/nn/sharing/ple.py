"""Progressive layered extraction: shared experts, experts of one task, and gates between levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.pooling import Concat, Residual, pool_slots
from gnnfusion.nn.fusion.trunk import GraphTypes
from gnnfusion.nn.sharing.reader import Architecture, read_once, readers


class Gate(nn.Module):
    """A mixture of the shared experts and of the experts of some tasks.

    Parameters
    ----------
    experts
        Number of shared experts.
    tasks
        Whose experts are mixed in; weights are kept by the task's name.
    width
        Features of a vector.
    """

    def __init__(self, experts: int, tasks: Sequence[str], width: int) -> None:
        super().__init__()
        self.shared = nn.Linear(width, experts)
        self.own = nn.ModuleDict({t: nn.Linear(width, 1) for t in tasks})

    def weights(self, x: Tensor) -> Tensor:
        """Weights ``[B, E + tasks]`` at the selector ``[B, width]``; rows sum to 1."""
        return torch.cat([self.shared(x), *(own(x) for own in self.own.values())], 1).softmax(1)

    def forward(self, x: Tensor, shared: Sequence[Tensor], own: Mapping[str, Tensor]) -> Tensor:
        """Selector ``[B, width]``, experts' vectors ``[B, width]`` each, to ``[B, width]``."""
        experts = torch.stack([*shared, *(own[t] for t in self.own)], 1)
        return (self.weights(x).unsqueeze(2) * experts).sum(1)


class Level(nn.Module):
    """The gates of one level; the last has none for the shared experts, which nothing would read.

    Parameters
    ----------
    tasks
        Their names.
    config
        Sizes.
    last
        Whether heads read what comes out.
    """

    def __init__(self, tasks: Sequence[str], config: NetworkConfig, last: bool) -> None:
        super().__init__()
        self.own = nn.ModuleDict({t: Gate(config.experts, [t], config.width) for t in tasks})
        self.shared = None if last else Gate(config.experts, tasks, config.width)

    def forward(
        self,
        x: Mapping[str, Tensor],
        common: Tensor,
        own: Mapping[str, Tensor],
        shared: Sequence[Tensor],
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Vectors by task and the shared one, all ``[B, width]``, from those of the level before
        and from the experts."""
        mixed = {t: gate(x[t], shared, own) for t, gate in self.own.items()}
        return mixed, common if self.shared is None else self.shared(common, shared, own)


def _layers(names: Sequence[str], config: NetworkConfig) -> nn.ModuleDict:
    return nn.ModuleDict({name: Residual(config.width, config.dropout) for name in names})


class PLE(Architecture):
    r"""PLE after Tang et al., `Progressive layered extraction
    <https://doi.org/10.1145/3383313.3412236>`_; with one level it is CGC.

    .. math:: x^l_t = g^l_t(x^{l-1}_t) \cdot [E^l_{S1}, \dots, E^l_{Sn}, E^l_t], \qquad
              x^l_S = g^l_S(x^{l-1}_S) \cdot [E^l_{S1}, \dots, E^l_{Sn}, E^l_1, \dots, E^l_T]

    with g softmaxes of linear maps. Experts of the first level are trunks and :math:`x^0` is the
    sample's pooled nodes, as in `gnnfusion.nn.sharing.mmoe`; those of further levels
    (``network.levels``) are residual layers, a task's on :math:`x^{l-1}_t` and the
    ``network.experts`` shared ones on :math:`x^{l-1}_S`. On the last level a task's expert is
    reached by that task's loss alone.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        tasks, shared = types.tasks, [str(i) for i in range(config.experts)]
        self.pool = Concat(types, config.width)
        self.trunks = readers(tasks, types, config)
        self.shared_trunks = readers(shared, types, config)

        self.levels = nn.ModuleList(
            Level(tasks, config, last=level == config.levels - 1) for level in range(config.levels)
        )
        self.layers = nn.ModuleList(_layers(tasks, config) for _ in range(config.levels - 1))
        self.shared_layers = nn.ModuleList(
            _layers(shared, config) for _ in range(config.levels - 1)
        )

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        one = read_once(batch)
        own = {t: trunk(h, one) for t, trunk in self.trunks.items()}
        shared = [trunk(h, one) for trunk in self.shared_trunks.values()]
        common = self.pool(*pool_slots(h, batch))
        x, common = self.levels[0](dict.fromkeys(own, common), common, own, shared)
        for layers, shared_layers, level in zip(
            self.layers, self.shared_layers, self.levels[1:], strict=True
        ):
            own = {t: layer(x[t]) for t, layer in layers.items()}  # type: ignore[union-attr, operator]
            shared = [layer(common) for layer in shared_layers.values()]  # type: ignore[union-attr, operator]
            x, common = level(x, common, own, shared)
        return torch.stack([x[t] for t in batch.tasks], 1)


def make(types: GraphTypes, config: NetworkConfig) -> PLE:
    """A `PLE`."""
    return PLE(types, config)
