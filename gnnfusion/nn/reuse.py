"""Steps that several passes over one batch have in common, computed once.

Passes that differ in the labels that are shown, or in edges that are cut, change some nodes and
leave the others as they were. Where a step finds the very tensors that it found the last time, it
gives what it gave the last time; so what has changed decides by itself how far its effect reaches,
whatever the topology. Tensors are never changed in place.

Typed layers (GCN, GAT, GATv2, GraphSAGE, RGCN, learned topology) ask for this step by step, graph
fusions for the means that tasks begin with; what does not ask is computed in each pass.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Kept = dict[Hashable, tuple[tuple[object, ...], Any]]
_kept: ContextVar[Kept | None] = ContextVar("kept", default=None)


@contextmanager
def reusing() -> Iterator[None]:
    """Within the block, steps whose inputs are as they were give what they gave.

    Only for passes of one batch through the same weights, without dropout and without gradients.
    """
    assert not torch.is_grad_enabled()
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def is_reusing() -> bool:
    """Whether a step's key is of any use here."""
    return _kept.get() is not None


def reused(step: Hashable, inputs: tuple[object, ...], make: Callable[[], T]) -> T:
    """What `make` gives; within `reusing` the last result of the step, if `inputs` are the same.

    Parameters
    ----------
    step
        Which step of which module, such as ``(self, "norm", "text")``.
    inputs
        All that the result depends on and that may differ between passes: tensors, by identity.
    make
        Computes the result.
    """
    kept = _kept.get()
    if kept is None:
        return make()
    last = kept.get(step)
    if last is None or not _same(last[0], inputs):
        last = kept[step] = (inputs, make())
    result: T = last[1]
    return result


def _same(a: tuple[object, ...], b: tuple[object, ...]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))
