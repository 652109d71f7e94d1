"""Multi-task architectures: how many trunks there are and how tasks share them, one a file.

Each module defines ``make(types, config)``, which returns a `gnnfusion.nn.fusion.trunk.Trunk` that
is made of trunks. Only in `single` tasks share not even the encoders: it makes whole networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnnfusion.errors import UsageError
from gnnfusion.methods import Method, find_method, load_method
from gnnfusion.nn.fusion import find_fusion

if TYPE_CHECKING:
    from gnnfusion.nn.config import NetworkConfig
    from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk


@dataclass(frozen=True)
class SharingMethod(Method):
    """A multi-task architecture.

    Parameters
    ----------
    mixes
        Whether it computes with the trunks' vectors before heads read them. Late fusion has no
        such vector: its heads read every modality apart.
    """

    mixes: bool = False


ARXIV, DOI = "https://arxiv.org/abs", "https://doi.org"

# Name, summary, reference, whether vectors are mixed.
_TABLE = (
    ("hard", "one trunk and one vector for all tasks; a head per task",
     f"{DOI}/10.1023/A:1007379606734", False),
    ("single", "a network per task with nothing in common: the control",
     f"{ARXIV}/1905.07553", False),
    ("cross_stitch", "a trunk per task; vectors mixed feature by feature with learned weights",
     f"{ARXIV}/1604.03539", True),
    ("mmoe", "expert trunks; each task weighs them anew for each sample",
     f"{DOI}/10.1145/3219819.3220007", True),
    ("ple", "experts that all tasks share and experts of one task, gated level by level",
     f"{DOI}/10.1145/3383313.3412236", True),
    ("mtan", "one trunk; each task attends to the features that it needs",
     f"{ARXIV}/1803.10704", True),
    ("private", "one trunk; features that all tasks share beside features of each, kept apart",
     f"{ARXIV}/1608.06019", True),
    ("task_nodes", "one trunk in which tasks are nodes that read modalities and each other",
     f"{ARXIV}/2303.07666", False),
)  # fmt: skip

SHARINGS = {
    name: SharingMethod(f"gnnfusion.nn.sharing.{name}", summary, reference, mixes)
    for name, summary, reference, mixes in _TABLE
}


def find_sharing(name: str) -> SharingMethod | None:
    """The registry's entry, None for ``auto``; `UsageError` lists the names if there is none."""
    return None if name == "auto" else find_method(SHARINGS, "sharing", name)


def sharing_name(config: NetworkConfig) -> str:
    """The architecture that the settings mean; ``auto`` depends on the fusion."""
    if config.sharing != "auto":
        return config.sharing
    return "task_nodes" if find_fusion(config.fusion).uses_task_nodes else "hard"


def refusal(sharing: str, fusion: str) -> str | None:
    """Why the two do not go together, or None where they do."""
    method = find_method(SHARINGS, "sharing", sharing)
    if sharing == "task_nodes" and not find_fusion(fusion).uses_task_nodes:
        return f"the fusion {fusion!r} has no task nodes; share by another, such as hard"
    if method.mixes and fusion == "late":
        return (
            f"the sharing {sharing!r} mixes vectors, and the fusion 'late' averages predictions; "
            "share by hard or single, or use another fusion, such as average"
        )
    return None


def check_labels(config: NetworkConfig) -> None:
    """`UsageError` if a network of these settings cannot read known labels."""
    if not find_fusion(config.fusion).uses_task_nodes:
        raise UsageError(
            f"the fusion {config.fusion!r} has no task nodes, so it cannot read known labels; "
            "train with one that has, such as gatv2 or transformer"
        )
    if sharing_name(config) != "task_nodes":
        raise UsageError(
            f"the sharing {config.sharing!r} has no task nodes, so it cannot read known labels; "
            "train with --sharing task_nodes"
        )


def make_sharing(types: GraphTypes, config: NetworkConfig) -> Trunk:
    """The trunk of trunks that ``config.sharing`` names.

    Raises
    ------
    UsageError
        There is no such architecture or fusion, the two do not go together, or the fusion does not
        fit the sizes or the number of modalities.
    """
    name = sharing_name(config)
    reason = refusal(name, config.fusion)
    if reason is not None:
        raise UsageError(reason)
    trunk: Trunk = load_method(SHARINGS[name]).make(types, config)
    return trunk
