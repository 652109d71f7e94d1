"""A network per task with nothing in common: the control of every other architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.network import FusionNetwork, SharedNetwork
from gnnfusion.nn.readout import Head
from gnnfusion.nn.sharing import check_labels
from gnnfusion.schema import Schema

MakeNetwork = Callable[[Schema, NetworkConfig], SharedNetwork]


class SingleNetworks(FusionNetwork):
    r"""Single-task models side by side (as the baseline in `arXiv:1905.07553
    <https://arxiv.org/abs/1905.07553>`_).

    .. math:: o_t = \mathrm{head}_t(f_t(\mathrm{encoders}_t(x)))

    Each is the network of hard sharing for a schema with that task alone. All draw the same random
    numbers, when they are made and in every step, so that each learns what it would learn alone.

    Parameters
    ----------
    schema, config
        As in `FusionNetwork`.
    shared
        Makes the network of a schema and of settings, for the store at hand.
    """

    def __init__(self, schema: Schema, config: NetworkConfig, shared: MakeNetwork) -> None:
        super().__init__(schema, config)
        alone = replace(config, sharing="hard")
        self.networks = nn.ModuleDict()
        for task in schema.tasks:
            # What a task derives from may be another task, which its own network does not have.
            own = schema.with_tasks([replace(task, derived_from=())])
            with torch.random.fork_rng([]):
                self.networks[task.name] = shared(own, alone)

    def _each(self) -> Iterator[tuple[str, SharedNetwork]]:
        for task, network in self.networks.items():
            assert isinstance(network, SharedNetwork)
            yield task, network

    def fit_to(self, batch: GraphBatch) -> None:
        for task, network in self._each():
            network.fit_to(batch.only(task))

    def forward(self, batch: GraphBatch, shown: Tensor | None = None) -> dict[str, Tensor]:
        if shown is not None:
            check_labels(self.config)
        devices = [batch.rows.device] if batch.rows.is_cuda else []
        out: dict[str, Tensor] = {}
        for task, network in self._each():
            with torch.random.fork_rng(devices):
                out |= network(batch.only(task))
        return out

    def head(self, task: str) -> Head:
        network = self.networks[task]
        assert isinstance(network, SharedNetwork)
        return network.head(task)

    def encoder_parameters(self, modality: str) -> list[nn.Parameter]:
        return [p for _, network in self._each() for p in network.encoder_parameters(modality)]

    def penalty(self) -> Tensor | float:
        """Mean over tasks, as the training loss is the mean of theirs."""
        parts = [network.penalty() for _, network in self._each()]
        return sum(parts) / len(parts)


def make(schema: Schema, config: NetworkConfig, shared: MakeNetwork) -> SingleNetworks:
    """`SingleNetworks`."""
    return SingleNetworks(schema, config, shared)
