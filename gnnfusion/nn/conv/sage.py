"""Mean over the edges of one relation, the aggregator of GraphSAGE."""

from __future__ import annotations

from torch import Tensor, nn
from torch_geometric.nn import SAGEConv

from gnnfusion.kernels.edge_sum import edge_mean


class SAGE(nn.Module):
    r"""The mean aggregator of `arXiv:1706.02216 <https://arxiv.org/abs/1706.02216>`_.

    .. math:: m_j = \frac{1}{|N(j)|} \sum_{i \in N(j)} W x_i

    What the paper applies to the node itself, :math:`W_0 x_j`, is the layer's: it must be there
    once, and for a node without edges too. Weights are those of PyG's ``SAGEConv``, the mean is
    `gnnfusion.kernels.edge_sum`'s.

    Parameters
    ----------
    width
        Features in and out.
    """

    reads_target = False

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = SAGEConv((width, width), width, root_weight=False, bias=False)

    def forward(self, source: Tensor, target: Tensor, index: Tensor) -> Tensor:
        """Map ``[n, width]``, ``[m, width]`` and ``[2, E]`` to ``[m, width]``."""
        out: Tensor = self.conv.lin_l(edge_mean(source, index, len(target)))
        return out


def make(width: int, heads: int) -> nn.Module:
    """A `SAGE` operator; it has no attention, so `heads` does nothing here."""
    return SAGE(width)
