"""Readout heads: a task node's vector to the task's outputs, and the outputs to predictions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """A two-layer perceptron; what its outputs mean follows from the task's kind.

    ===========  ==========================================================
    binary       1 logit
    multiclass   C logits
    multilabel   C logits
    ordinal      C - 1 logits of P(y > k), decreasing in k by construction
    regression   d values, standardized with `mean` and `std` (training rows)
    ===========  ==========================================================

    Parameters
    ----------
    kind
        Kind of the task.
    size
        Number of classes C, or of regression columns d.
    width, dropout
        Size of the task node's vector; dropout between the layers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, kind: str, size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.kind, self.size = kind, size
        outputs = {"binary": 1, "ordinal": 1}.get(kind, size)
        self.net = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, outputs)
        )
        if kind == "ordinal":
            # softplus(0.54) = 1: steps of one between neighbouring thresholds to begin with.
            self.first = nn.Parameter(torch.zeros(1))
            self.steps = nn.Parameter(torch.full((size - 2,), 0.54))
        if kind == "regression":
            self.register_buffer("mean", torch.zeros(size))
            self.register_buffer("std", torch.ones(size))

    @torch.no_grad()
    def fit(self, targets: Tensor) -> None:
        """Take mean and spread of regression targets ``[n, d]`` (training rows)."""
        if self.kind == "regression" and len(targets):
            values = targets.double()
            std = values.std(0, correction=0)
            self.mean.copy_(values.mean(0))
            self.std.copy_(torch.where(std > 0, std, torch.ones_like(std)))

    def forward(self, x: Tensor) -> Tensor:
        """Vectors ``[B, width]`` to outputs (see the table)."""
        out: Tensor = self.net(x)
        if self.kind == "ordinal":
            steps = nn.functional.softplus(self.steps)
            threshold = self.first + torch.cat([steps.new_zeros(1), steps.cumsum(0)])
            return out - threshold
        return out

    def probabilities(self, out: Tensor) -> Tensor:
        """Class probabilities ``[B, C]`` (binary: of both classes; multilabel: of each label)."""
        if self.kind == "multiclass":
            return out.softmax(1)
        if self.kind == "multilabel":
            return out.sigmoid()
        above = out.sigmoid()
        one, zero = torch.ones_like(above[:, :1]), torch.zeros_like(above[:, :1])
        bounds = torch.cat([one, above, zero], 1)
        return bounds[:, :-1] - bounds[:, 1:]

    def predict(self, out: Tensor) -> Tensor:
        """Predicted class index ``[B]``, label set ``[B, C]``, or values ``[B, d]``."""
        if self.kind == "regression":
            return out * self.std + self.mean
        if self.kind == "multilabel":
            return (out > 0).long()
        if self.kind == "ordinal":
            # The median class: the least mean absolute error in steps.
            return (out > 0).sum(1)
        return self.probabilities(out).argmax(1)


class LabelEmbedding(nn.Module):
    """A known label as a vector to add to its task node.

    Classes are looked up; label sets and regression targets (standardized by the head's
    statistics) go through a small perceptron, since what a target tells need not be linear in it.
    """

    def __init__(self, kind: str, size: int, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.embed: Any
        if kind in ("binary", "multiclass", "ordinal"):
            self.embed = nn.Embedding(max(size, 2), width)
        else:
            self.embed = nn.Sequential(nn.Linear(size, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, target: Tensor, head: Head) -> Tensor:
        """Labels ``[B]`` or ``[B, d]`` to ``[B, width]``."""
        if self.kind in ("binary", "multiclass", "ordinal"):
            out: Tensor = self.embed(target.long())
        elif self.kind == "regression":
            out = self.embed((target - head.mean) / head.std)
        else:
            out = self.embed(target.to(self.embed[0].weight.dtype))
        return out
