"""Degree-normalized graph convolution for bipartite relations.

PyG's ``GCNConv`` refuses bipartite input.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch_geometric.utils import degree

from gnnfusion.kernels.edge_sum import edge_sum


class BipartiteGCN(nn.Module):
    r"""The operator of Kipf and Welling, `arXiv:1609.02907 <https://arxiv.org/abs/1609.02907>`_.

    .. math:: m_j = \sum_{i \in N(j)} \frac{1}{\sqrt{d_i d_j}} W x_i

    with :math:`d_i` the number of edges that leave source i, :math:`d_j` of those that reach j.

    Parameters
    ----------
    width
        Features in and out.
    """

    reads_target = False

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin = nn.Linear(width, width, bias=False)

    def forward(self, source: Tensor, target: Tensor, index: Tensor) -> Tensor:
        """Map ``[n, width]``, ``[m, width]`` and ``[2, E]`` to ``[m, width]``."""
        out_degree = degree(index[0], len(source), source.dtype)
        in_degree = degree(index[1], len(target), source.dtype)
        norm = (out_degree[index[0]] * in_degree[index[1]]).rsqrt()
        return edge_sum(self.lin(source), index, len(target), norm)


def make(width: int, heads: int) -> nn.Module:
    """A `BipartiteGCN`; it has no attention, so `heads` does nothing here."""
    return BipartiteGCN(width)
