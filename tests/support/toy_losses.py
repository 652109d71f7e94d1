"""Losses of a few parameters whose gradients are known, to hold balancers to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnfusion.training.balancing import BALANCINGS, make_balancer
from gnnfusion.training.balancing.balancer import Balancer, Split

STATEFUL = (
    "performance", "performance_inverse", "dwa", "uncertainty", "imtl_l", "famo", "gradnorm",
    "grad_vac", "excess_mtl", "cr_mogm",
)  # fmt: skip
AGGREGATORS = tuple(name for name, method in BALANCINGS.items() if method.aggregates)
WEIGHERS = tuple(name for name, method in BALANCINGS.items() if not method.aggregates)


def balancer(name: str, tasks: int = 3, weights: Tensor | None = None) -> Balancer:
    return make_balancer(name, torch.full((tasks,), 1 / tasks) if weights is None else weights)


def rows(tasks: int = 3, size: int = 20, seed: int = 0) -> Tensor:
    """Gradients ``[T, n]`` of unequal lengths, some of them in conflict."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.rand(tasks, 1, generator=draw) * 3 + 0.2
    return torch.randn(tasks, size, generator=draw) * lengths


def step(
    method: Balancer, matrix: Tensor, values: Tensor | None = None, present: Tensor | None = None
) -> Tensor:
    """The balanced gradient ``[n]`` of losses with these gradients and values, drawn from seed 0.

    An absent task's loss is NaN.
    """
    tasks = len(matrix)
    present = torch.ones(tasks, dtype=torch.bool) if present is None else present
    values = torch.ones(tasks) if values is None else values
    # Two parameters, so that the order of their parts matters.
    shared = [nn.Parameter(torch.zeros(matrix.shape[1] - 2)), nn.Parameter(torch.zeros(2))]
    losses = matrix @ torch.cat(shared) + values
    losses = torch.where(present, losses, torch.nan)
    torch.manual_seed(0)
    total = method(losses, present, Split(shared))
    found = torch.autograd.grad(total, shared, allow_unused=True)
    return torch.cat([
        torch.zeros_like(p) if g is None else g for g, p in zip(found, shared, strict=True)
    ])  # fmt: skip
