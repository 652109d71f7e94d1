"""Index arithmetic on packed segments: what makes a batch's nodes and edges without a Python loop.

A packed array holds the items of all segments one after another; `ptr` ``[G + 1]`` says where each
segment begins, so segment g is ``ptr[g]:ptr[g + 1]`` and an absent one is a range of length zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def pointers(counts: Tensor) -> Tensor:
    """Row pointers ``[G + 1]`` of segments with these lengths ``[G]``."""
    ptr = counts.new_zeros(len(counts) + 1)
    torch.cumsum(counts, 0, out=ptr[1:])
    return ptr


def owners(ptr: Tensor) -> Tensor:
    """Segment of each item, ``[N]``."""
    segments = torch.arange(len(ptr) - 1, device=ptr.device)
    return torch.repeat_interleave(segments, ptr.diff())


def ranges(start: Tensor, counts: Tensor) -> Tensor:
    """``cat([arange(s, s + c) for s, c in zip(start, counts)])``."""
    ptr = pointers(counts)
    shift = torch.repeat_interleave(start - ptr[:-1], counts)
    return shift + torch.arange(len(shift), device=start.device)


def pairs(source_ptr: Tensor, target_ptr: Tensor) -> Tensor:
    """All (source, target) pairs inside each segment, ``[2, E]``, sorted by source."""
    targets = target_ptr.diff()
    per_source = torch.repeat_interleave(targets, source_ptr.diff())
    start = torch.repeat_interleave(target_ptr[:-1], source_ptr.diff())
    source = torch.repeat_interleave(
        torch.arange(len(per_source), device=source_ptr.device), per_source
    )
    return torch.stack([source, ranges(start, per_source)])


def rank_within(group: Tensor, value: Tensor) -> Tensor:
    """Rank (0 = smallest) of each item's value among the items of its group; ties keep order."""
    order = torch.argsort(value, stable=True)
    order = order[torch.argsort(group[order], stable=True)]
    ordered = group[order]
    place = torch.arange(len(order), device=group.device)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    begin = torch.cummax(torch.where(first, place, torch.zeros_like(place)), 0).values
    rank = torch.empty_like(place)
    rank[order] = place - begin
    return rank


def pack_ids(ids: Sequence[str]) -> dict[str, np.ndarray]:
    """Ids as the two tensors ``id/bytes`` and ``id/ptr``."""
    encoded = [i.encode("utf-8") for i in ids]
    ptr = np.zeros(len(ids) + 1, dtype=np.int64)
    np.cumsum([len(e) for e in encoded], out=ptr[1:])
    return {"id/bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8).copy(), "id/ptr": ptr}
