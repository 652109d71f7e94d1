"""GATv2 attention over the edges of one relation (arXiv:2105.14491), by PyG's ``GATv2Conv``."""

from __future__ import annotations

from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv


class GATv2(nn.Module):
    r"""Attention of each target over its sources, normalized within the relation.

    .. math:: m_j = \Vert_h \sum_{i \in N(j)} \alpha^h_{ij} W^h x_i

    with :math:`\alpha^h_{ij}` the softmax over i of
    :math:`a^h \cdot \mathrm{LeakyReLU}(W_s^h x_i + W_t^h x_j)`: unlike in GAT, the order of the
    sources may differ from target to target.

    Parameters
    ----------
    width
        Features in and out; a multiple of `heads`.
    heads
        Attention heads; their outputs are concatenated.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.conv = GATv2Conv(
            (width, width), width // heads, heads, add_self_loops=False, bias=False
        )

    def forward(self, source: Tensor, target: Tensor, index: Tensor) -> Tensor:
        """Map ``[n, width]``, ``[m, width]`` and ``[2, E]`` to ``[m, width]``."""
        out: Tensor = self.conv((source, target), index)
        return out

    def attention(self, source: Tensor, target: Tensor, index: Tensor) -> Tensor:
        """Attention weights ``[E, heads]``; each target's sum to 1."""
        _, (_, weights) = self.conv((source, target), index, return_attention_weights=True)
        return weights  # type: ignore[no-any-return]


def make(width: int, heads: int) -> nn.Module:
    """A `GATv2` operator."""
    return GATv2(width, heads)
