"""Fusion trunks: encoded nodes to one vector per sample and task, one method per file.

Each module defines ``make(types, config)``, which returns a `gnnfusion.nn.fusion.trunk.Trunk`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnnfusion.errors import UsageError
from gnnfusion.methods import Method, find_method, load_method

if TYPE_CHECKING:
    from gnnfusion.nn.config import NetworkConfig
    from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk


@dataclass(frozen=True)
class FusionMethod(Method):
    """A fusion.

    Parameters
    ----------
    uses_task_nodes
        Whether tasks are nodes (or tokens) of the sample. Known labels ride on task nodes, so only
        such a fusion can read them; the others train and predict with all labels hidden.
    """

    uses_task_nodes: bool = False


def _fusion(name: str, summary: str, reference: str, tasks: bool = False) -> FusionMethod:
    return FusionMethod(f"gnnfusion.nn.fusion.{name}", summary, reference, tasks)


ARXIV = "https://arxiv.org/abs"

FUSIONS: dict[str, FusionMethod] = {
    "gcn": _fusion(
        "gcn", "message passing with degree-normalized convolutions",
        f"{ARXIV}/1609.02907", True,
    ),
    "gat": _fusion(
        "gat", "message passing with attention over the edges of each relation",
        f"{ARXIV}/1710.10903", True,
    ),
    "gatv2": _fusion(
        "gatv2", "message passing with attention that ranks sources anew for each target",
        f"{ARXIV}/2105.14491", True,
    ),
    "sage": _fusion(
        "sage", "message passing with the mean of each relation's sources, beside the node itself",
        f"{ARXIV}/1706.02216", True,
    ),
    "rgcn": _fusion(
        "rgcn", "message passing with relation weights mixed from shared bases",
        f"{ARXIV}/1703.06103", True,
    ),
    "hgt": _fusion(
        "hgt", "heterogeneous graph Transformer: one attention over all relations of a node",
        f"{ARXIV}/2003.01332", True,
    ),
}  # fmt: skip


def find_fusion(name: str) -> FusionMethod:
    """The registry's entry; `UsageError` lists the names if there is none."""
    return find_method(FUSIONS, "fusion", name)


def check_labels(name: str) -> None:
    """`UsageError` if the named fusion cannot read known labels."""
    if not find_fusion(name).uses_task_nodes:
        raise UsageError(
            f"the fusion {name!r} has no task nodes, so it cannot read known labels; "
            "train with one that has, such as gatv2 or transformer"
        )


def make_fusion(types: GraphTypes, config: NetworkConfig) -> Trunk:
    """The trunk that ``config.fusion`` names.

    Raises
    ------
    UsageError
        There is no such fusion, or it does not fit the sizes or the number of modalities.
    """
    trunk: Trunk = load_method(find_fusion(config.fusion)).make(types, config)
    return trunk
