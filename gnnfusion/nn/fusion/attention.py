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
from gnnfusion.nn.fusion.pooling import slot_names
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


class Marks(nn.Module):
    """A learned vector for each slot, added to its nodes: own, before and after, per modality.

    Nodes carry positions and places in the context already, but the latter begin at zero; without
    marks a Transformer would have to find out first which nodes are the sample's own.
    """

    def __init__(self, types: GraphTypes, width: int) -> None:
        super().__init__()
        self.slots = slot_names(types)
        self.marks = nn.ParameterDict(
            {slot: nn.Parameter(torch.randn(width) * 0.5) for slot in self.slots}
        )

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> dict[str, Tensor]:
        """Modality nodes by type ``[n, width]``, marked."""
        # By name, since a ParameterDict sorts what it is given.
        marks = torch.stack([self.marks[slot] for slot in self.slots])
        marks = marks.unflatten(0, (len(batch.nodes), -1))
        # Own, before, after: offsets of sign 0, -1 and 1 are the places 0, 1 and 2.
        place = torch.tensor([1, 0, 2], device=marks.device)
        return {
            name: h[name] + marks[m][place[batch.node_offset(name).sign() + 1]]
            for m, name in enumerate(batch.nodes)
        }


def pad_all(h: Mapping[str, Tensor], batch: GraphBatch) -> Padded:
    """All modality nodes of a sample in one row."""
    sample = torch.cat([batch.node_sample(name) for name in batch.nodes])
    return pad(torch.cat([h[name] for name in batch.nodes]), sample, len(batch))
