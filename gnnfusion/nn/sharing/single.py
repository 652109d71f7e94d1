r"""A network per task with nothing in common: the control of every other architecture.

.. math:: o_t = \mathrm{head}_t(f_t(\mathrm{encoders}_t(x)))

The single-task models of `arXiv:1905.07553 <https://arxiv.org/abs/1905.07553>`_, each that of hard
sharing for a schema with that task alone: groups of one task.
"""

from __future__ import annotations

from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.sharing.grouped import GroupNetworks, MakeNetwork
from gnnfusion.schema import Schema


def make(schema: Schema, config: NetworkConfig, shared: MakeNetwork) -> GroupNetworks:
    """`GroupNetworks` of one task each."""
    groups = [(task,) for task in schema.task_names]
    return GroupNetworks(schema, config, groups, "hard", shared)
