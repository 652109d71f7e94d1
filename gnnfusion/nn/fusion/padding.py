"""From packed nodes to padded rows, one row a sample, and back; by index arithmetic alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gnnfusion.graphs.index import rank_within


class Padded(NamedTuple):
    """Nodes of B samples, each padded to the same length.

    Parameters
    ----------
    x
        ``[B, L, width]``, L at least 1; zeros where there is no node.
    present
        Where there is one, ``[B, L]``.
    sample, place
        Row and column of each node, ``[n]``.
    """

    x: Tensor
    present: Tensor
    sample: Tensor
    place: Tensor

    def nodes(self, x: Tensor) -> Tensor:
        """Rows ``[B, L, ...]`` back to nodes ``[n, ...]``."""
        return x[self.sample, self.place]


def pad(x: Tensor, sample: Tensor, samples: int) -> Padded:
    """Pad nodes ``[n, width]`` that belong to these samples ``[n]``."""
    place = rank_within(sample, torch.zeros_like(sample))
    longest = int(place.max()) + 1 if len(place) else 1
    rows = x.new_zeros(samples, longest, x.shape[1]).index_put((sample, place), x)
    present = torch.zeros(samples, longest, dtype=torch.bool, device=x.device)
    present[sample, place] = True
    return Padded(rows, present, sample, place)
