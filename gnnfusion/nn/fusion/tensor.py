"""Tensor fusion: the outer product of all modalities."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gnnfusion.errors import UsageError
from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.pooling import Factors
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk, to_all_tasks

LARGEST = 4096  # entries of the outer product: 262,144 weights at width 64


def factor_size(modalities: int, width: int) -> int:
    """Largest projection r of a modality with ``(r + 1) ** modalities <= LARGEST``."""
    size = 0
    while size < width and (size + 2) ** modalities <= LARGEST:
        size += 1
    if size < min(2, width):
        raise UsageError(
            f"tensor fusion of {modalities} modalities needs an outer product of "
            f"{3**modalities:,} entries, more than {LARGEST:,}; use the fusion low_rank"
        )
    return size


class TensorFusion(Trunk):
    r"""Outer product after `arXiv:1707.07250 <https://arxiv.org/abs/1707.07250>`_.

    .. math:: y = b + W\, \mathrm{vec}\Bigl(\bigotimes_m [1; z_m]\Bigr)

    with :math:`z_m` the modality's vector, projected so that the product has at most `LARGEST`
    entries. Of an absent modality [1; 0] remains: every product that it would enter is exactly 0,
    and those of the others are untouched.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        modalities = len(types.modalities)
        size = factor_size(modalities, config.width)
        self.factors = Factors(types, config, size)
        self.out = nn.Linear((size + 1) ** modalities, config.width)

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        z, _ = self.factors(h, batch)
        return to_all_tasks(self.out(outer_product(z)), batch)


def outer_product(z: Tensor) -> Tensor:
    """Flattened outer product of [1; z_m] over m: ``[B, M, r]`` to ``[B, (r + 1) ** M]``."""
    factors = torch.cat([torch.ones_like(z[..., :1]), z], 2)
    product = factors[:, 0]
    for factor in factors.unbind(1)[1:]:
        product = (product.unsqueeze(2) * factor.unsqueeze(1)).flatten(1)
    return product


def make(types: GraphTypes, config: NetworkConfig) -> TensorFusion:
    """A `TensorFusion`; `UsageError` if the product would be too large."""
    return TensorFusion(types, config)
