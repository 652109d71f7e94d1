"""What the encoders of token sequences share: from packed tokens to padded rows and back.

Two layouts occur. *Tokens are nodes*: a node is one token ``(1,)`` and the sequence is the unit's
run of nodes; every token node gets a vector. *Sentences are nodes*: a node is a padded sequence
``(L,)`` with 0 as padding; it gets one vector.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnnfusion.graphs.index import owners
from gnnfusion.graphs.topology import NodeLayout


def padded_tokens(nodes: NodeLayout) -> tuple[Tensor, Tensor]:
    """Token ids ``[rows, L]`` (0 = padding) and lengths ``[rows]``, empty rows left out."""
    if nodes.spec.shape == (1,):
        counts = nodes.ptr.diff()
        present = counts > 0
        row = (torch.cumsum(present, 0) - 1)[owners(nodes.ptr)]
        place = torch.arange(len(row), device=row.device) - nodes.ptr[owners(nodes.ptr)]
        longest = int(counts.max()) if len(counts) else 0
        ids = torch.zeros(int(present.sum()), longest, dtype=torch.long, device=row.device)
        ids[row, place] = nodes.x[:, 0].long()
        return ids, counts[present]
    ids = nodes.x.long()
    # A sentence of no known token still has one (padding) step, so that every node has a vector.
    return ids, (ids != 0).sum(1).clamp_min(1)


def to_nodes(nodes: NodeLayout, states: Tensor, lengths: Tensor) -> Tensor:
    """States ``[rows, L, width]`` to ``[n, width]``: each token's own, or a sentence's mean."""
    inside = torch.arange(states.shape[1], device=states.device) < lengths.unsqueeze(1)
    if nodes.spec.shape == (1,):
        return states[inside]
    weight = inside.unsqueeze(2).to(states.dtype)
    return (states * weight).sum(1) / lengths.unsqueeze(1)


def vocabulary_size(state: object) -> int:
    """Number of token ids: padding, unknown and the words the extractor was fitted to."""
    return len(state["vocabulary"]) + 2  # type: ignore[index]
