"""Attention over padded nodes, for the Transformers among the fusions.

PyTorch's own layers give NaN for a query whose keys are all padding, which is what a sample
without a modality has; and they drop attention weights, which we do not (see `TypedLayer`).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.conv import check_heads
from gnnfusion.nn.fusion.padding import Padded, pad
from gnnfusion.nn.fusion.trunk import GraphTypes


class MaskedAttention(nn.Module):
    r"""Scaled dot-product attention over the keys that are there (`arXiv:1706.03762
    <https://arxiv.org/abs/1706.03762>`_); exactly 0 for a query that has none.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, present: Tensor) -> Tensor:
        """Queries ``[B, Q, width]``, keys ``[B, K, width]`` and their mask to ``[B, Q, width]``."""
        some = present.any(1, keepdim=True)
        # A row of nothing attends to its padding, and what it finds there is thrown away.
        mask = (present | ~some)[:, None, None, :]
        q, k, v = (
            net(y).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for net, y in ((self.query, x), (self.key, memory), (self.value, memory))
        )
        found = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return torch.where(some.unsqueeze(2), out, out.new_zeros(()))


class Attend(nn.Module):
    r"""Residual attention to a memory, or to itself: :math:`x + \mathrm{drop}(\mathrm{attn}(
    \mathrm{LN}\,x, \cdot))`."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), MaskedAttention(width, heads)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, present: Tensor, memory: Tensor | None = None) -> Tensor:
        """`present` tells which places of the memory, or else of x itself, are there."""
        normed = self.norm(x)
        found = self.attention(normed, normed if memory is None else memory, present)
        return x + self.dropout(found)  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    r"""Residual perceptron per place: :math:`x + \mathrm{drop}(W_2 \mathrm{GELU}(W_1
    \mathrm{LN}\,x))`."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(),
            nn.Linear(2 * width, width), nn.Dropout(dropout),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x)  # type: ignore[no-any-return]


class Block(nn.Module):
    """A pre-norm Transformer layer: `Attend`, then `FeedForward`."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attend = Attend(width, heads, dropout)
        self.feed = FeedForward(width, dropout)

    def forward(self, x: Tensor, present: Tensor, memory: Tensor | None = None) -> Tensor:
        """See `Attend`."""
        return self.feed(self.attend(x, present, memory))  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """All modality nodes of a sample in one row, each with a learned vector for its modality.

    Nodes carry their positions and places in the context already.
    """

    def __init__(self, types: GraphTypes, width: int) -> None:
        super().__init__()
        self.kind = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(width) * 0.1) for name in types.modalities}
        )

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Padded:
        """Encoded nodes by type to ``[B, L, width]``."""
        x = torch.cat([h[name] + kind for name, kind in self.kind.items()])
        sample = torch.cat([batch.node_sample(name) for name in self.kind])
        return pad(x, sample, len(batch))
