"""Networks side by side, each for a group of tasks: nothing is shared between groups."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gnnfusion.errors import UsageError
from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.network import FusionNetwork, SharedNetwork
from gnnfusion.nn.readout import Head
from gnnfusion.nn.sharing import check_labels
from gnnfusion.schema import Schema, check_task_names

MakeNetwork = Callable[[Schema, NetworkConfig], SharedNetwork]
Group = tuple[str, ...]


class GroupNetworks(FusionNetwork):
    r"""A network for each group of tasks (as in `arXiv:1905.07553
    <https://arxiv.org/abs/1905.07553>`_).

    .. math:: (o_t)_{t \in G} = f_G(x)

    Each is the network of a schema with that group alone. All draw the same random numbers, when
    they are made and in every step, so that each learns what it would learn alone.

    Parameters
    ----------
    schema, config
        As in `FusionNetwork`.
    groups
        Names; every task is in one of them.
    sharing
        What the tasks of a group share.
    shared
        Makes the network of a schema and of settings, for the store at hand.
    """

    def __init__(
        self,
        schema: Schema,
        config: NetworkConfig,
        groups: Sequence[Group],
        sharing: str,
        shared: MakeNetwork,
    ) -> None:
        super().__init__(schema, config)
        inner = replace(config, sharing=sharing, groups=())
        tasks = {task.name: task for task in schema.tasks}
        # By the first task of the group: a parameter's name must not depend on its place.
        self.groups = {group[0]: group for group in groups}
        self.networks = nn.ModuleDict()
        for name, group in self.groups.items():
            # What a task derives from may be another task, which its own network does not have.
            own = schema.with_tasks([replace(tasks[t], derived_from=()) for t in group])
            with torch.random.fork_rng([]):
                self.networks[name] = shared(own, inner)

    def _each(self) -> Iterator[tuple[Group, SharedNetwork]]:
        for name, network in self.networks.items():
            assert isinstance(network, SharedNetwork)
            yield self.groups[name], network

    def fit_to(self, batch: GraphBatch) -> None:
        for group, network in self._each():
            network.fit_to(batch.only(*group))

    def encode_modalities(self, batch: GraphBatch) -> dict[str, dict[str, Tensor]]:
        """By the first task of a group, what its network's encoders make of the batch."""
        return {group[0]: network.encode_modalities(batch) for group, network in self._each()}

    def forward(
        self,
        batch: GraphBatch,
        shown: Tensor | None = None,
        encoded: Mapping[str, Any] | None = None,
        tasks: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        if shown is not None:
            check_labels(self.config)
        devices = [batch.rows.device] if batch.rows.is_cuda else []
        out: dict[str, Tensor] = {}
        for group, network in self._each():
            wanted = None if tasks is None else [task for task in group if task in tasks]
            if wanted == []:
                continue
            places = [batch.tasks.index(task) for task in group]
            with torch.random.fork_rng(devices):
                own = None if shown is None else shown[:, places]
                known = None if encoded is None else encoded[group[0]]
                out |= network(batch.only(*group), own, known, wanted)
        return {task: out[task] for task in batch.tasks if task in out}

    def head(self, task: str) -> Head:
        return next(network.head(task) for group, network in self._each() if task in group)

    def encoder_parameters(self, modality: str) -> list[nn.Parameter]:
        return [p for _, network in self._each() for p in network.encoder_parameters(modality)]

    def penalty(self) -> Tensor | float:
        """Mean over tasks, as the training loss is the mean of theirs."""
        parts = [len(group) * network.penalty() for group, network in self._each()]
        return sum(parts) / len(self.schema.tasks)


def all_groups(tasks: Sequence[str], groups: Sequence[Sequence[str]]) -> list[Group]:
    """The groups that settings name, in the order of the tasks; who is in none is one alone.

    Raises
    ------
    UsageError
        A group names what is no task, or a task is in two.
    """
    found: list[Group] = []
    for group in groups:
        check_task_names(group, tasks, "a group")
        found.append(tuple(t for t in tasks if t in group))
    named = [task for group in groups for task in group]
    for task in tasks:
        if named.count(task) > 1:
            raise UsageError(f"the groups name task {task!r} twice; a task is in one group")
        if task not in named:
            found.append((task,))
    return sorted(found, key=lambda group: tasks.index(group[0]))


def make(schema: Schema, config: NetworkConfig, shared: MakeNetwork) -> GroupNetworks:
    """`GroupNetworks` of the groups in the settings; `UsageError` as in `all_groups`."""
    groups = all_groups(schema.task_names, config.groups)
    return GroupNetworks(schema, config, groups, config.sharing, shared)
