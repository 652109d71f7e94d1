"""What every balancing method is: from the losses of the tasks to one thing to be minimized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gnnfusion.errors import RunError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.nn.ownership import task_parameters

LEAST = 1e-8  # what is below it counts as this: logarithms and quotients stay finite


@dataclass(frozen=True)
class Split:
    """The network's parameters, by how many tasks read them.

    Parameters
    ----------
    shared
        All that are not one task's own.
    own
        Those that the output of a single task alone depends on.
    """

    shared: Sequence[nn.Parameter] = ()
    own: Sequence[nn.Parameter] = ()


def split_parameters(network: FusionNetwork, store: GraphStore) -> Split:
    """The network's parameters, those of one task apart from the shared ones."""
    mine = {name for names in task_parameters(network, store).values() for name in names}
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    return Split([p for n, p in named if n not in mine], [p for n, p in named if n in mine])


class Balancer(nn.Module):
    r"""Base of all methods; `forward` is what a method defines.

    A balancer works on :math:`\ell_t = T w_t L_t` with the schema's weights :math:`w` (equal ones
    leave the losses as they are) and sees only the tasks with a scored label in the step (and a
    weight above zero). What it
    makes of those k tasks counts as k/T of a step over all T, as with static weights, where a task
    without labels adds nothing and takes nothing from the others. All that it remembers is in its
    `state_dict`, by task; of a task that is absent nothing is changed.

    Parameters
    ----------
    weights
        The schema's weights, summing to one, ``[T]``.
    """

    weights: Tensor
    looks_back = False
    """Whether it wants the losses of a step once more after the step: see `after_step`."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, losses: Tensor, present: Tensor, split: Split) -> Tensor:
        """A scalar whose gradient is the balanced gradient; its value may mean nothing.

        Parameters
        ----------
        losses
            Of the tasks, ``[T]``, with their graph; of an absent task they may be anything.
        present
            Tasks with a scored label in this step, bool ``[T]``.
        split
            Shared and own parameters; needed by methods that read gradients.
        """
        raise NotImplementedError

    def after_step(self, losses: Tensor) -> None:
        """Told the losses ``[T]`` of the step's batch, under the weights after the step."""

    def end_epoch(self, losses: Tensor, relative: Tensor) -> None:
        """Told the mean training losses of an epoch, and how the network does at its end.

        Parameters
        ----------
        losses
            ``[T]``, over all labels that were scored; NaN for a task without any.
        relative
            Held-out losses over those of the best constant prediction, ``[T]``.
        """

    def counted(self, present: Tensor) -> Tensor:
        """Places of the tasks that count in a step: present, and of a weight above zero."""
        return (present & (self.weights > 0)).nonzero().squeeze(1)

    def scaled(self, losses: Tensor) -> Tensor:
        """Losses times the schema's weights, which have the mean one here, ``[T]``."""
        return losses * (self.weights * len(losses))


class Weigher(Balancer):
    """A method that gives every loss a factor; `weigh` is what it defines."""

    def forward(self, losses: Tensor, present: Tensor, split: Split) -> Tensor:
        places = self.counted(present)
        factors = torch.zeros_like(losses)
        if len(places):
            scaled = self.scaled(losses)[places]
            with torch.no_grad():
                factors[places] = self.weigh(scaled, places, split)
        return (losses.masked_fill(~present, 0.0) * self.weights * factors).sum()

    def weigh(self, losses: Tensor, places: Tensor, split: Split) -> Tensor:
        """Factors ``[k]`` of the present tasks; static weights are factors of one.

        Parameters
        ----------
        losses
            Scaled losses of the present tasks, ``[k]``.
        places
            Which tasks they are, ``[k]``.
        split
            Shared and own parameters.
        """
        raise NotImplementedError


def task_gradients(
    losses: Tensor, parameters: Sequence[nn.Parameter]
) -> list[tuple[Tensor | None, ...]]:
    """Gradient of each loss by each parameter, None where a parameter is not reached."""
    if not parameters:  # networks of single tasks share none
        return [()] * len(losses)
    with torch.enable_grad():  # to take the losses apart, without losing their graph
        apart = losses.unbind()
    return [
        torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        for loss in apart
    ]


def jacobian(
    gradients: Sequence[Sequence[Tensor | None]], parameters: Sequence[nn.Parameter]
) -> Tensor:
    """Gradients as rows of a matrix, ``[k, number of entries of all parameters]``.

    Raises
    ------
    RunError
        A gradient is not finite: training has diverged.
    """
    if not parameters:
        return torch.zeros(len(gradients), 0)
    rows = [
        torch.cat([
            (torch.zeros_like(p) if g is None else g).flatten()
            for g, p in zip(row, parameters, strict=True)
        ]) for row in gradients
    ]  # fmt: skip
    matrix = torch.stack(rows)
    if not matrix.isfinite().all():
        raise RunError("the gradient of a task is not finite; train with a lower lr")
    return matrix
