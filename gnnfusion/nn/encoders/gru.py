"""Token sequences through a bidirectional gated recurrent unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.topology import NodeLayout
from gnnfusion.nn.encoders.augment import check_share, drop_tokens
from gnnfusion.nn.encoders.sequence import padded_tokens, to_nodes, vocabulary_size


class GRUEncoder(nn.Module):
    """Embedding and bidirectional GRU (Cho et al., arXiv:1406.1078); width of the output `width`.

    Sequences are packed, so padding and the other samples never touch a state.

    Parameters
    ----------
    vocabulary
        Number of token ids.
    width
        Size of the output.
    dropout
        Probability of dropping a feature of a word's vector.
    token_dropout
        Probability with which training takes a word for an unknown one (`drop_tokens`).
    """

    def __init__(
        self, vocabulary: int, width: int, dropout: float, token_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.token_dropout = check_share(token_dropout)
        self.embed = nn.Embedding(vocabulary, width, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)

    def fit(self, nodes: NodeLayout) -> None:
        """Nothing: tokens need no statistics."""

    def forward(self, nodes: NodeLayout) -> Tensor:
        ids, lengths = padded_tokens(nodes)
        if len(ids) == 0:
            return self.embed.weight.new_zeros(0, self.embed.embedding_dim)
        if self.training:
            ids = drop_tokens(ids, self.token_dropout)
        packed = pack_padded_sequence(
            self.dropout(self.embed(ids)), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(
            self.gru(packed)[0], batch_first=True, total_length=ids.shape[1]
        )
        return to_nodes(nodes, states, lengths)


def make(
    spec: NodeSpec, state: Mapping[str, Any], width: int, dropout: float, **settings: Any
) -> nn.Module:
    """A `GRUEncoder` over the fitted vocabulary."""
    return GRUEncoder(vocabulary_size(state), width, dropout, **settings)
