r"""Sums over the edges that reach a node, without one row of numbers for each edge.

.. math:: y_j = \sum_{i \in N(j)} w_{ij} x_i

PyG gathers a row per edge and scatters the rows to their targets, so the numbers of all edges go
through the memory twice. Made for summing rows of a table by groups, ``embedding_bag`` reads the
sources and writes the targets alone; its gradient is the same sum along the edges turned round. It
needs edges in the order of their targets (turned round, of their sources). Once that is known it
takes on a CPU from half of the time (some hundred edges, where calls cost most) to a thirtieth
(two hundred thousand); to find it costs as much as one sum by rows, so it is kept: as long as the
edges, since all layers read the same ones, and for the last sets of edges, since batches of samples
that are wired alike are, too.

Elsewhere, in less than single precision and within `torch.func` it is PyG's `scatter`, the
reference.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import embedding_bag
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric.utils import scatter

from gnnfusion.graphs.index import pointers

PRECISE = (torch.float32, torch.float64)


def edge_sum(x: Tensor, index: Tensor, targets: int, weight: Tensor | None = None) -> Tensor:
    """Sum of the sources of each target, ``[targets, width]``; 0 where no edge leads.

    Parameters
    ----------
    x
        Features of the sources, ``[n, width]``.
    index
        Source and target of each edge, ``[2, E]``; never changed in place.
    targets
        How many targets there are.
    weight
        Of each edge, ``[E]``, 1 by default; no gradient reaches it.
    """
    if not _is_fast(x):
        return scattered(x, index, targets, "sum", weight)
    return _summed(x, weight, _wiring(index, len(x), targets))


def edge_mean(x: Tensor, index: Tensor, targets: int) -> Tensor:
    """Mean of the sources of each target, ``[targets, width]``; 0 where no edge leads."""
    if not _is_fast(x):
        return scattered(x, index, targets, "mean")
    wiring = _wiring(index, len(x), targets)
    return _summed(x, None, wiring) / wiring.degree


def scattered(
    x: Tensor, index: Tensor, targets: int, reduce: str, weight: Tensor | None = None
) -> Tensor:
    """The reference: a row for each edge, and their ``sum`` or ``mean``."""
    rows = x[index[0]]
    if weight is not None:
        rows = rows * weight.detach().unsqueeze(1)
    return scatter(rows, index[1], 0, targets, reduce=reduce)


def _is_fast(x: Tensor) -> bool:
    functional: bool = torch._C._are_functorch_transforms_active()
    return x.device.type == "cpu" and x.dtype in PRECISE and not functional


@dataclass(frozen=True)
class Bags:
    """Edges in the order of the nodes at one of their ends.

    Parameters
    ----------
    ptr
        Where each node's edges begin, ``[n + 1]``.
    far
        Node at the other end of each edge, ``[E]``.
    order
        Place of each edge among those that were given, ``[E]``; None if that is its place here.
    """

    ptr: Tensor
    far: Tensor
    order: Tensor | None


class Wiring:
    """Edges by their targets and by their sources; what nobody asks for is not sorted."""

    def __init__(self, index: Tensor, sources: int, targets: int) -> None:
        # A copy, for even views of the index would keep it, and its place in `_kept`, for ever.
        self.index, self.sources, self.targets = index.clone(), sources, targets

    @property
    def size(self) -> int:
        """Numbers that it keeps, nearly."""
        return self.index.shape[1] + self.sources + self.targets

    def is_of(self, index: Tensor, sources: int, targets: int) -> bool:
        """Whether these are the very edges."""
        sizes = (self.sources, self.targets) == (sources, targets)
        return sizes and self.index.shape == index.shape and torch.equal(self.index, index)

    @cached_property
    def by_target(self) -> Bags:
        return _bags(self.index[1], self.index[0], self.targets)

    @cached_property
    def by_source(self) -> Bags:
        return _bags(self.index[0], self.index[1], self.sources)

    @cached_property
    def degree(self) -> Tensor:
        """Edges that reach each target, 1 where there are none, ``[m, 1]``."""
        with torch.inference_mode(False):  # a later training may divide by it
            return self.by_target.ptr.diff().clamp_min(1).unsqueeze(1)


# The same tensor is met in every layer; and where samples are wired alike, so are their batches.
_kept: Any = WeakTensorKeyDictionary()  # index -> numbers of sources and targets -> `Wiring`
_recent: deque[Wiring] = deque(maxlen=32)
LARGEST = 2**15  # size of one that is kept among the recent ones: at most 80 MB in all


def _wiring(index: Tensor, sources: int, targets: int) -> Wiring:
    kept: dict[tuple[int, int], Wiring] = _kept.setdefault(index, {})
    found = kept.get((sources, targets))
    if found is None:
        alike = (w for w in tuple(_recent) if w.is_of(index, sources, targets))
        found = next(alike, None)
        if found is None:
            found = Wiring(index, sources, targets)
            if found.size <= LARGEST:
                _recent.append(found)
        kept[sources, targets] = found
    return found


def _bags(near: Tensor, far: Tensor, nodes: int) -> Bags:
    """Edges by their near node, in the order given within one."""
    with torch.inference_mode(False):
        ptr = pointers(torch.bincount(near, minlength=nodes))
        if len(ptr) != nodes + 1:
            raise IndexError(f"an edge ends at node {len(ptr) - 2}, and there are {nodes}")
        if bool((near[1:] >= near[:-1]).all()):
            return Bags(ptr, far, None)
        order = torch.argsort(near, stable=True)
        return Bags(ptr, far[order], order)


def _summed(x: Tensor, weight: Tensor | None, wiring: Wiring, *, back: bool = False) -> Tensor:
    derived = torch.is_grad_enabled() or forward_ad.unpack_dual(x).tangent is not None
    if not derived:  # on a small batch what can be derived costs as much again
        return _bag_sums(x, weight, wiring, back)
    result: Tensor = _EdgeSum.apply(x, weight, wiring, back)
    return result


def _bag_sums(x: Tensor, weight: Tensor | None, wiring: Wiring, back: bool) -> Tensor:
    bags = wiring.by_source if back else wiring.by_target
    if weight is not None:
        weight = (weight if bags.order is None else weight[bags.order]).to(x.dtype)
    # Of rows that lie one after another it sums ten times as fast, a copy to that end included.
    return embedding_bag(
        bags.far, x.contiguous(), bags.ptr, mode="sum", include_last_offset=True,
        per_sample_weights=weight,
    )  # fmt: skip


class _EdgeSum(torch.autograd.Function):
    """`embedding_bag` sorts anew for its own gradient, and has neither a second nor a forward one.

    The weight is a constant.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor | None, wiring: Wiring, back: bool
    ) -> Tensor:
        # Kept here and not by setup_context, with which each call takes its signature apart.
        ctx.weight, ctx.wiring, ctx.back = weight, wiring, back
        return _bag_sums(x, weight, wiring, back)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        back = _summed(gradients[0], ctx.weight, ctx.wiring, back=not ctx.back)
        return back, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return _summed(tangents[0], ctx.weight, ctx.wiring, back=ctx.back)
