"""What pooled fusions share: masked means per slot, and steps that leave absent slots out.

A *slot* is a modality's own nodes, or its nodes from rows before or after (context). Each has a
mask of its own: an absent slot adds nothing, not even a bias, and a slot that is there adds its
bias, so that absence never looks like data of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.trunk import GraphTypes


def slot_names(types: GraphTypes) -> tuple[str, ...]:
    """Names of the S slots, modality by modality."""
    places = ("", "__before", "__after") if types.has_context else ("",)
    return tuple(name + place for name in types.modalities for place in places)


def pool_slots(h: Mapping[str, Tensor], batch: GraphBatch) -> tuple[Tensor, Tensor]:
    """Mean of each slot's nodes ``[B, S, width]`` (0 without any), and which have some ``[B, S]``.

    Slots are in the order of `slot_names`.
    """
    means, present = [], []
    for name in batch.nodes:
        x, sample, offset = h[name], batch.node_sample(name), batch.node_offset(name).sign()
        for side in (0, -1, 1) if batch.has_context else (0,):
            inside = (offset == side).to(x.dtype).unsqueeze(1)
            count = x.new_zeros(len(batch), 1).index_add(0, sample, inside)
            total = x.new_zeros(len(batch), x.shape[1]).index_add(0, sample, x * inside)
            means.append(total / count.clamp_min(1))
            present.append(count.squeeze(1) > 0)
    return torch.stack(means, 1), torch.stack(present, 1)


def mask_slots(x: Tensor, present: Tensor) -> Tensor:
    """The vectors ``[B, S, ...]``, exactly 0 where a slot is absent."""
    return torch.where(present.unsqueeze(2), x, x.new_zeros(()))


def add_empty(empty: Tensor, z: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """One more slot that holds `empty` ``[width]``, and is there where no other is.

    So that a weighted mean over the slots that are there always has one.
    """
    z = torch.cat([z, empty.to(z.dtype).expand(len(z), 1, -1)], 1)
    return z, torch.cat([present, ~present.any(1, keepdim=True)], 1)


def masked_softmax(scores: Tensor, present: Tensor) -> Tensor:
    """Softmax over the last axis among what is there; exactly 0 elsewhere."""
    return scores.masked_fill(~present, -torch.inf).softmax(-1)


class MLP(nn.Sequential):
    """As many `Residual` layers as the settings say."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(*(Residual(config.width, config.dropout) for _ in range(config.layers)))


class Residual(nn.Module):
    r"""A layer :math:`x + \mathrm{drop}(\mathrm{GELU}(\mathrm{LN}(W x + b)))`."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        step: Tensor = self.dropout(nn.functional.gelu(self.norm(self.linear(x))))
        return x + step


class Branches(nn.Module):
    """Each slot's mean through an `MLP` of its own."""

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({slot: MLP(config) for slot in slot_names(types)})

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> tuple[Tensor, Tensor]:
        """Vectors ``[B, S, width]``, exactly 0 for absent slots, and which are there ``[B, S]``."""
        x, present = pool_slots(h, batch)
        z = torch.stack([net(x[:, s]) for s, net in enumerate(self.branches.values())], 1)
        return mask_slots(z, present), present


class Concat(nn.Module):
    r"""Linear map of all slots, concatenated with their masks.

    .. math:: y = b + \sum_{s\ \mathrm{present}} (W_s z_s + b_s)
    """

    def __init__(self, types: GraphTypes, width: int) -> None:
        super().__init__()
        self.maps = nn.ModuleDict({slot: nn.Linear(width, width) for slot in slot_names(types)})
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, z: Tensor, present: Tensor) -> Tensor:
        """``[B, S, width]`` and ``[B, S]`` to ``[B, width]``."""
        parts = torch.stack([linear(z[:, s]) for s, linear in enumerate(self.maps.values())], 1)
        return mask_slots(parts, present).sum(1) + self.bias


class Factors(nn.Module):
    r"""One vector per modality, for fusions that multiply modalities.

    .. math:: z_m = \sum_{s \in m\ \mathrm{present}} (W_s z_s + b_s)

    over the modality's own nodes and its context, so that the order of a product is the number of
    modalities, however many slots there are.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig, size: int) -> None:
        super().__init__()
        self.branches = Branches(types, config)
        self.modalities = len(types.modalities)
        self.maps = nn.ModuleDict(
            {slot: nn.Linear(config.width, size) for slot in slot_names(types)}
        )

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> tuple[Tensor, Tensor]:
        """Vectors ``[B, M, size]``, exactly 0 for absent modalities, and which are there."""
        z, present = self.branches(h, batch)
        parts = torch.stack([linear(z[:, s]) for s, linear in enumerate(self.maps.values())], 1)
        parts = mask_slots(parts, present).unflatten(1, (self.modalities, -1))
        return parts.sum(2), present.unflatten(1, (self.modalities, -1)).any(2)
