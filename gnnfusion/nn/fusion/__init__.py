"""Fusion trunks: encoded nodes to one vector per sample and task, one method per file.

Each module defines ``make(types, config)``, which returns a `gnnfusion.nn.fusion.trunk.Trunk`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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


ARXIV = "https://arxiv.org/abs"

# Name, summary, reference, whether tasks are nodes.
_TABLE = (
    ("concat", "each modality through its own network, then concatenated",
     "https://dl.acm.org/doi/10.5555/3104482.3104569", False),
    ("average", "mean of the modalities that are there",
     f"{ARXIV}/1705.09406", False),
    ("weighted", "mean with one learned weight per modality",
     f"{ARXIV}/1802.05365", False),
    ("gated", "attention pooling: each sample weighs its own modalities",
     f"{ARXIV}/1802.04712", False),
    ("tensor", "outer product of all modalities",
     f"{ARXIV}/1707.07250", False),
    ("low_rank", "outer product of all modalities through a tensor of low rank",
     f"{ARXIV}/1806.00064", False),
    ("bilinear", "low-rank bilinear product of every pair of modalities",
     f"{ARXIV}/1610.04325", False),
    ("late", "every modality predicts for itself; predictions are averaged",
     "https://doi.org/10.1145/1101149.1101236", False),
    ("early", "encoded modalities concatenated at once, then one network",
     "https://doi.org/10.1145/1101149.1101236", False),
    ("transformer", "Transformer over all nodes, with one token per task",
     f"{ARXIV}/1706.03762", True),
    ("encoder_decoder", "Transformer over all nodes, decoded by one query per task",
     f"{ARXIV}/2005.12872", True),
    ("mult", "cross-modal attention from every modality to every other",
     f"{ARXIV}/1906.00295", False),
    ("bottleneck", "Transformers per modality that meet in a few shared tokens",
     f"{ARXIV}/2107.00135", False),
    ("gcn", "message passing with degree-normalized convolutions",
     f"{ARXIV}/1609.02907", True),
    ("gat", "message passing with attention over the edges of each relation",
     f"{ARXIV}/1710.10903", True),
    ("gatv2", "message passing with attention that ranks sources anew for each target",
     f"{ARXIV}/2105.14491", True),
    ("sage", "message passing with the mean of each relation's sources, beside the node itself",
     f"{ARXIV}/1706.02216", True),
    ("rgcn", "message passing with relation weights mixed from shared bases",
     f"{ARXIV}/1703.06103", True),
    ("hgt", "heterogeneous graph Transformer: one attention over all relations of a node",
     f"{ARXIV}/2003.01332", True),
    ("mtag", "attention over all relations at once, cut to the strongest edges of each node",
     f"{ARXIV}/2010.11985", True),
    ("learned_topology", "message passing with learned gates between modalities and tasks",
     f"{ARXIV}/1712.01312", True),
)  # fmt: skip

FUSIONS = {
    name: FusionMethod(f"gnnfusion.nn.fusion.{name}", summary, reference, tasks)
    for name, summary, reference, tasks in _TABLE
}


def find_fusion(name: str) -> FusionMethod:
    """The registry's entry; `UsageError` lists the names if there is none."""
    return find_method(FUSIONS, "fusion", name)


def make_fusion(types: GraphTypes, config: NetworkConfig) -> Trunk:
    """The trunk that ``config.fusion`` names.

    Raises
    ------
    UsageError
        There is no such fusion, or it does not fit the sizes or the number of modalities.
    """
    trunk: Trunk = load_method(find_fusion(config.fusion)).make(types, config)
    return trunk
