"""Token sequences through a small Transformer encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.topology import NodeLayout
from gnnfusion.nn.encoders.augment import check_share, drop_tokens
from gnnfusion.nn.encoders.position import sinusoids
from gnnfusion.nn.encoders.sequence import padded_tokens, to_nodes, vocabulary_size


class TransformerTokenEncoder(nn.Module):
    """Embedding, sinusoidal places and pre-norm Transformer layers (arXiv:1706.03762).

    Parameters
    ----------
    vocabulary
        Number of token ids.
    width
        Size of the output.
    dropout
        Of the layers.
    layers, heads
        Depth, and attention heads of each layer.
    token_dropout
        Probability with which training takes a word for an unknown one (`drop_tokens`).
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        dropout: float,
        layers: int = 2,
        heads: int = 4,
        token_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.token_dropout = check_share(token_dropout)
        self.embed = nn.Embedding(vocabulary, width, padding_idx=0)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout, nn.functional.gelu, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.place = nn.Linear(sinusoids(torch.zeros(1, 1)).shape[1], width, bias=False)

    def fit(self, nodes: NodeLayout) -> None:
        """Nothing: tokens need no statistics."""

    def forward(self, nodes: NodeLayout) -> Tensor:
        ids, lengths = padded_tokens(nodes)
        if len(ids) == 0:
            return self.embed.weight.new_zeros(0, self.embed.embedding_dim)
        if self.training:
            ids = drop_tokens(ids, self.token_dropout)
        steps = torch.arange(ids.shape[1], device=ids.device)
        x = self.embed(ids) + self.place(sinusoids(steps.unsqueeze(1).to(self.embed.weight.dtype)))
        states = self.layers(x, src_key_padding_mask=steps >= lengths.unsqueeze(1))
        return to_nodes(nodes, states, lengths)


def make(
    spec: NodeSpec, state: Mapping[str, Any], width: int, dropout: float, **settings: Any
) -> nn.Module:
    """A `TransformerTokenEncoder` over the fitted vocabulary."""
    return TransformerTokenEncoder(vocabulary_size(state), width, dropout, **settings)
