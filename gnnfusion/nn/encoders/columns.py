"""Cells of a table: one embedding per column, scaled by the number or chosen by the category."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.topology import NodeLayout


class ColumnsEncoder(nn.Module):
    r"""Each node is (column c, value v, missing flag).

    A numeric cell becomes :math:`b_c + v\,w_c`, a categorical one :math:`b_c + e_{c,v}`, a missing
    one :math:`b_c + u_c`; then a shared MLP (the tokenizer of FT-Transformer,
    `arXiv:2106.11959 <https://arxiv.org/abs/2106.11959>`_, with a missing token).

    Parameters
    ----------
    categories
        Per column its number of category codes (code 0 = unseen), or 0 for a numeric column.
    width, dropout
        As elsewhere.
    """

    start: Tensor

    def __init__(self, categories: list[int], width: int, dropout: float) -> None:
        super().__init__()
        count = len(categories)
        self.bias = nn.Embedding(count, width)
        self.scale = nn.Embedding(count, width)
        self.missing = nn.Embedding(count, width)
        self.codes = nn.Embedding(max(1, sum(categories)), width)
        # An unseen category must not carry an untrained direction.
        nn.init.normal_(self.codes.weight, std=0.1)
        start = torch.tensor(
            [-1 if n == 0 else sum(categories[:i]) for i, n in enumerate(categories)]
        )
        with torch.no_grad():
            self.codes.weight[start[start >= 0]] = 0.0
        self.register_buffer("start", start, persistent=False)
        self.mlp = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width))

    def fit(self, nodes: NodeLayout) -> None:
        """Nothing: the extractor has standardized the numbers already."""

    def forward(self, nodes: NodeLayout) -> Tensor:
        column = nodes.x[:, 0].long()
        value, missing = nodes.x[:, 1], nodes.x[:, 2:3]
        start = self.start[column]
        categorical = (start >= 0).unsqueeze(1)
        code = self.codes(start.clamp_min(0) + value.long() * (start >= 0))
        number = value.unsqueeze(1) * self.scale(column)
        known = torch.where(categorical, code, number)
        token = self.bias(column) + torch.where(missing > 0, self.missing(column), known)
        out: Tensor = token + self.mlp(token)
        return out


def make(
    spec: NodeSpec, state: Mapping[str, Any], width: int, dropout: float, **settings: Any
) -> nn.Module:
    """A `ColumnsEncoder` of the columns that the extractor was fitted to."""
    categories = [
        len(c["categories"]) + 1 if c["kind"] == "categorical" else 0 for c in state["columns"]
    ]
    return ColumnsEncoder(categories, width, dropout, **settings)
