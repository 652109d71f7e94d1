"""Low-rank bilinear pooling of every pair of modalities."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.pooling import Factors
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk, to_all_tasks


class BilinearFusion(Trunk):
    r"""Hadamard products (MLB) after `arXiv:1610.04325 <https://arxiv.org/abs/1610.04325>`_,
    summed over pairs.

    .. math:: y = b + \sum_{m \in P} W_m z_m + \sum_{m < n \in P} W_{mn}
              (\tanh(U_m z_m) \odot \tanh(U_n z_n))

    with P the present modalities. The linear terms, not in the paper, are what a sample with one
    modality is read from. A pair is left out where either is absent.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        width, names = config.width, types.modalities
        self.factors = Factors(types, config, width)
        self.pairs = tuple(combinations(range(len(names)), 2))
        self.enter = nn.ModuleDict({m: nn.Linear(width, width, bias=False) for m in names})
        self.linear = nn.ModuleDict({m: nn.Linear(width, width, bias=False) for m in names})
        self.product = nn.ModuleDict(
            {f"{names[m]}__{n}": nn.Linear(width, width, bias=False)
             for m, n in ((i, names[j]) for i, j in self.pairs)}
        )  # fmt: skip
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        z, _ = self.factors(h, batch)
        return to_all_tasks(self.combine(z), batch)

    def combine(self, z: Tensor) -> Tensor:
        """``[B, M, width]`` to ``[B, width]``; no map has a bias, so zeros add nothing."""
        entered = [net(z[:, m]).tanh() for m, net in enumerate(self.enter.values())]
        out = self.bias + sum(net(z[:, m]) for m, net in enumerate(self.linear.values()))
        for (m, n), net in zip(self.pairs, self.product.values(), strict=True):
            out = out + net(entered[m] * entered[n])
        return out


def make(types: GraphTypes, config: NetworkConfig) -> BilinearFusion:
    """A `BilinearFusion`."""
    return BilinearFusion(types, config)
