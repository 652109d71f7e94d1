"""Which known labels the network may see: the rules that keep evidence honest.

Only hidden labels are scored; a label is never shown where one of its kin (a task computable from
it, its source, or one that shares a source: `Schema.kin`) is scored.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnnfusion.schema import Schema


def kin_matrix(schema: Schema) -> Tensor:
    """`Schema.kin` as a bool tensor ``[T, T]``."""
    return torch.tensor(schema.kin(), dtype=torch.bool).reshape(len(schema.tasks), -1)


def families(kin: Tensor) -> Tensor:
    """Family of each task ``[T]``: the connected components of kinship."""
    reach = kin.float()
    for _ in range(len(kin)):
        reach = ((reach @ reach) > 0).float()
    _, index = torch.unique(reach, dim=0, return_inverse=True)
    return index


def scorable(masks: Tensor, shown: Tensor, kin: Tensor) -> Tensor:
    """Labels that may be scored, bool ``[B, T]``: known, hidden, and none of their kin shown."""
    betrayed = (shown.float() @ kin.float()) > 0
    return masks & ~betrayed


def draw_shown(masks: Tensor, kin: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Labels to show in a training step, bool ``[B, T]``.

    A `share` of the samples show some labels, each family of tasks with the sample's own rate,
    drawn uniformly; the others show none. A sample whose every known label would be shown shows
    none, since nothing would be left to score.

    Parameters
    ----------
    masks
        Which labels are known, ``[B, T]`` on the CPU.
    kin
        `kin_matrix` of the schema.
    share
        Between 0 and 1.
    generator
        Source of randomness.
    """
    count = len(masks)
    family = families(kin)
    number = int(family.max()) + 1 if len(family) else 0
    some = torch.rand(count, 1, generator=generator) < share
    rate = torch.rand(count, 1, generator=generator)
    chosen = torch.rand(count, max(number, 1), generator=generator) < rate
    shown = masks & some & chosen[:, family]
    left = scorable(masks, shown, kin).any(1, keepdim=True)
    return shown & left


def only_shown(masks: Tensor, task: int) -> Tensor:
    """The task's labels wherever they are known, and no other, bool ``[B, T]``."""
    shown = torch.zeros_like(masks)
    shown[:, task] = masks[:, task]
    return shown


def others_shown(masks: Tensor, kin: Tensor, task: int) -> Tensor:
    """All known labels but the task's own and its kin's, bool ``[B, T]``."""
    return masks & ~kin[task]
