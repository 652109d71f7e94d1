"""Settings of the network; plain values, so that the command line reads them without torch."""

from __future__ import annotations

from dataclasses import dataclass

from gnnfusion.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Size and shape of the network.

    Parameters
    ----------
    width
        Features of every node.
    layers
        Rounds of message passing, or depth of the fusion.
    heads
        Attention heads; must divide the width.
    dropout
        Probability of dropping a hidden unit in training.
    fusion
        How modalities are joined; ``gnnfusion info --methods`` lists the names. Short: --fusion.
    sharing
        What tasks share; the same command lists the names. ``auto`` is task_nodes where the fusion
        has task nodes, and hard elsewhere. Short: --sharing.
    experts
        Expert trunks of mmoe, and shared ones of ple, which has one more for each task.
    levels
        How often cross_stitch and ple mix: after the trunks, then after every further layer.
    groups
        Groups of tasks that have a network each; a task that none names is alone. Empty: one
        network for all.
    """

    width: int = 64
    layers: int = 2
    heads: int = 4
    dropout: float = 0.2
    fusion: str = "gatv2"
    sharing: str = "auto"
    experts: int = 4
    levels: int = 2
    groups: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        # As read from a file they are lists.
        object.__setattr__(self, "groups", tuple(tuple(group) for group in self.groups))
        if not all(self.groups):
            raise UsageError("a group of network.groups names no task")
        if self.groups and self.sharing == "single":
            raise UsageError("sharing 'single' has a group for every task; leave out the groups")
        for name in ("width", "layers", "heads", "experts", "levels"):
            if getattr(self, name) < 1:
                raise UsageError(f"network.{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"network.dropout must be at least 0 and below 1, not {self.dropout}")
