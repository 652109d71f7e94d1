"""Probes: what the gradients of the tasks would do to each other, measured during training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gnnfusion.training.balancing.balancer import Split, jacobian, task_gradients

FILE = "probes.safetensors"
STEP = 0.05  # share of its own loss that the median task expects to lose


@dataclass(frozen=True)
class Probes:
    r"""Measurements at P steps of a training with T tasks, each on that step's own batch.

    With :math:`g_i` the gradient of task i's loss :math:`L_i` by the shared parameters
    :math:`\theta` and :math:`\eta` the length of a step:

    Parameters
    ----------
    epoch
        Of each step, ``[P]``.
    length
        :math:`\eta = 0.05 \operatorname{median}_i L_i / \lVert g_i \rVert`, at which the median
        task expects to lower its own loss by 5 %, ``[P]``. One length for all sources, so that none
        seems to help more because its gradient is large; a step of Adam's length, all of it along
        one gradient, would be far beyond where losses are nearly linear.
    loss
        :math:`L_j(\theta)`, ``[P, T]``; NaN for a task without a scored label in the batch.
    gramian
        :math:`\langle g_i, g_j \rangle`, ``[P, T, T]``; NaN where i or j has no label.
    ahead
        :math:`L_j(\theta - \eta\, g_i / \lVert g_i \rVert)` on the same batch, with the same units
        dropped, ``[P, T, T]``. NaN where i or j has no label, or :math:`g_i` is 0.
    """

    epoch: Tensor
    length: Tensor
    loss: Tensor
    gramian: Tensor
    ahead: Tensor

    def __len__(self) -> int:
        return len(self.epoch)

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        from safetensors.torch import save_file

        from gnnfusion.whole import whole_file

        with whole_file(path) as part:
            save_file({k: v.contiguous() for k, v in vars(self).items()}, part)

    @classmethod
    def load(cls, path: Path) -> Probes:
        """Read a file of `save`."""
        from safetensors.torch import load_file

        return cls(**load_file(path))

    @classmethod
    def of(cls, steps: Sequence[dict[str, Tensor]]) -> Probes:
        """From what `probe_step` measured at each step."""
        return cls(**{k: torch.stack([step[k] for step in steps]) for k in steps[0]})


def probe_step(
    measure: Callable[[], tuple[Tensor, Tensor]], split: Split, epoch: int
) -> dict[str, Tensor]:
    """Measure one step and leave every weight as it was; values as in `Probes`, of one step.

    Parameters
    ----------
    measure
        Losses ``[T]`` of the step's batch under the weights as they are, and how many labels each
        is over. Called again it must draw the same labels and the same dropout.
    split
        Shared parameters; only these move.
    epoch
        Where in training this is.
    """
    with torch.enable_grad():
        losses, count = measure()
    places = (count > 0).nonzero().squeeze(1)
    gradients = task_gradients(losses[places.to(losses.device)], split.shared)
    matrix = jacobian(gradients, split.shared).detach()
    size = matrix.norm(dim=1)
    reach = (losses.detach().float()[places.to(losses.device)] / size)[size > 0]
    length = STEP * float(reach.median()) if len(reach) else math.nan
    tasks = len(losses)
    loss = torch.full((tasks,), math.nan, dtype=torch.float64)
    gramian, ahead = (torch.full((tasks, tasks), math.nan, dtype=torch.float64) for _ in range(2))
    loss[places] = losses.detach().double().cpu()[places]
    gramian[places.unsqueeze(1), places] = (matrix @ matrix.T).double().cpu()
    before = [p.detach().clone() for p in split.shared]
    try:
        for row, i, norm in zip(matrix, places.tolist(), size.tolist(), strict=True):
            if norm > 0:
                _move(split, before, row * (length / norm))
                with torch.no_grad():
                    ahead[i, places] = measure()[0].double().cpu()[places]
    finally:
        _move(split, before, None)
    return {
        "epoch": torch.tensor(epoch), "length": torch.tensor(length, dtype=torch.float64),
        "loss": loss, "gramian": gramian, "ahead": ahead,
    }  # fmt: skip


@torch.no_grad()
def _move(split: Split, before: Sequence[Tensor], step: Tensor | None) -> None:
    """Set the shared parameters to what they were, less a step (flattened)."""
    start = 0
    for p, old in zip(split.shared, before, strict=True):
        p.copy_(old if step is None else old - step[start : start + p.numel()].view_as(p))
        start += p.numel()


def probe_interval(tasks: int, share: float = 0.15) -> int:
    """Steps between probes such that probing makes about `share` of the training's passes.

    A training step is a forward and a backward pass, about three forward passes; a probe is one
    forward, T backward and T forward ones, ``3 T + 1``. In time it is more where batches are small:
    a quarter of the training was measured with ten tasks of planted arrays.
    """
    return max(1, math.ceil((3 * tasks + 1) / (3 * share)))
