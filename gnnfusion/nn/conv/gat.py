"""GAT attention over the edges of one relation (arXiv:1710.10903), by PyG's ``GATConv``."""

from __future__ import annotations

from torch import Tensor, nn
from torch_geometric.nn import GATConv


class GAT(nn.Module):
    r"""Attention of each target over its sources, normalized within the relation.

    .. math:: m_j = \Vert_h \sum_{i \in N(j)} \alpha^h_{ij} W^h x_i

    with :math:`\alpha^h_{ij}` the softmax over i of
    :math:`\mathrm{LeakyReLU}(a_s^h \cdot W_s^h x_i + a_t^h \cdot W_t^h x_j)`.

    Parameters
    ----------
    width
        Features in and out; a multiple of `heads`.
    heads
        Attention heads; their outputs are concatenated.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.conv = GATConv((width, width), width // heads, heads, add_self_loops=False, bias=False)

    def forward(self, source: Tensor, target: Tensor, index: Tensor) -> Tensor:
        """Map ``[n, width]``, ``[m, width]`` and ``[2, E]`` to ``[m, width]``."""
        out: Tensor = self.conv((source, target), index)
        return out

    def attention(self, source: Tensor, target: Tensor, index: Tensor) -> Tensor:
        """Attention weights ``[E, heads]``; each target's sum to 1."""
        _, (_, weights) = self.conv((source, target), index, return_attention_weights=True)
        return weights  # type: ignore[no-any-return]


def make(width: int, heads: int) -> nn.Module:
    """A `GAT` operator."""
    return GAT(width, heads)
