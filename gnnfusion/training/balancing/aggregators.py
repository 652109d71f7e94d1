"""One gradient out of those of all tasks: the Jacobian of the losses, aggregated.

Most aggregators are TorchJD's. What they remember is kept here by task, because TorchJD's own
memory starts anew whenever the number of gradients changes, and with missing labels it does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchjd import aggregation

from gnnfusion.errors import RunError
from gnnfusion.training.balancing.balancer import LEAST, Balancer, Split, jacobian, task_gradients
from gnnfusion.training.balancing.solvers import cagrad_weights, fair_weights


class Aggregation(Balancer):
    r"""Aggregates the gradients of the present tasks by the shared parameters.

    .. math:: d = \frac kT\, \mathcal A(J), \qquad J = (\nabla \ell_1, \dots, \nabla \ell_k)^\top

    A task's own parameters get what they get with static weights, :math:`\nabla \ell_t / T`. So
    that both are of the same size, :math:`\mathcal A` is a mean: aggregators that are sums over
    tasks are divided by k. J goes in at Frobenius norm one and its norm is put back on what comes
    out, so that no constant in a solver decides what a small gradient is; for Nash-MTL and
    FairGrad, whose step would have the same length for whatever gradients, this is a choice.
    A task whose gradient is zero counts as absent, for MGDA would stop all others for it.

    Memory: k gradients of the shared parameters. Time: k backward passes.

    Parameters
    ----------
    weights
        The schema's weights, ``[T]``.
    combine
        Maps J ``[k, n]`` of norm one to a vector ``[n]``.
    sums
        Whether that is a sum over tasks.
    """

    def __init__(
        self, weights: Tensor, combine: Callable[[Tensor], Tensor], sums: bool = False
    ) -> None:
        super().__init__(weights)
        self.combine, self.sums = combine, sums
        self.places = torch.arange(0)  # which tasks J is of, for a `combine` that remembers

    def forward(self, losses: Tensor, present: Tensor, split: Split) -> Tensor:
        places = self.counted(present)
        own = list(split.own)
        rows = task_gradients(self.scaled(losses)[places], [*split.shared, *own])
        shared = [row[: len(split.shared)] for row in rows]
        # A product with a constant has that constant as its gradient.
        total = losses.new_zeros((), requires_grad=True) * 0.0
        for place, parameter in enumerate(own, start=len(split.shared)):
            for gradient in (row[place] for row in rows):
                if gradient is not None:
                    total = total + (parameter * gradient).sum() / len(losses)
        if not rows or not split.shared:
            return total
        with torch.no_grad():
            matrix = jacobian(shared, split.shared)
            alive = matrix.any(1)
            step = matrix.new_zeros(matrix.shape[1])
            if alive.any():
                step = self.aggregate(matrix[alive], places[alive])
                step *= 1 / len(losses) if self.sums else int(alive.sum()) / len(losses)
        parts = step.split([p.numel() for p in split.shared])
        for place, (parameter, part) in enumerate(zip(split.shared, parts, strict=True)):
            if any(row[place] is not None for row in shared):
                total = total + (parameter * part.view_as(parameter)).sum()
        return total

    def aggregate(self, matrix: Tensor, places: Tensor) -> Tensor:
        """Gradients ``[k, n]`` of these tasks, none zero, to one vector ``[n]``."""
        self.places, size = places, matrix.norm()
        try:
            return self.combine(matrix / size) * size
        except Exception as error:  # each solver has errors of its own
            raise RunError(f"the tasks' gradients could not be combined: {error}") from error


def by_gramian(weighting: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A combination of the rows with weights that depend on their inner products alone."""

    def combine(matrix: Tensor) -> Tensor:
        # Many small steps: on the CPU, where none of them waits for a device.
        weights: Tensor = weighting((matrix @ matrix.T).cpu())
        return weights.to(matrix) @ matrix

    return combine


def by_arrays(solver: Callable[[Any], Any]) -> Callable[[Tensor], Tensor]:
    """The same for a function of arrays in double precision, in which no eigenvalue is negative."""

    def combine(matrix: Tensor) -> Tensor:
        precise = matrix.double()
        weights = torch.from_numpy(solver((precise @ precise.T).cpu().numpy()))
        return weights.to(matrix) @ matrix

    return combine


def trimmed_mean(matrix: Tensor) -> Tensor:
    """Mean without the least and the largest entry, where there are three tasks or more."""
    out: Tensor = aggregation.TrimmedMean(1 if len(matrix) > 2 else 0)(matrix)
    return out


class GradVac(Aggregation):
    r"""Gradient vaccine, after `arXiv:2010.05874 <https://arxiv.org/abs/2010.05874>`_.

    Each gradient is turned until its cosine with every other is at least the running mean
    :math:`\hat\phi_{ij} \leftarrow (1 - \beta) \hat\phi_{ij} + \beta \phi_{ij}`, which is kept for
    each pair of tasks and moves when both are present.
    """

    goals: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__(weights, by_gramian(self.turn), sums=True)
        self.register_buffer("goals", torch.zeros(len(weights), len(weights)))

    def turn(self, gramian: Tensor) -> Tensor:
        pairs = torch.meshgrid(self.places, self.places, indexing="ij")
        weighting: Any = aggregation.GradVacWeighting()
        weighting._phi_t = self.goals[pairs].to(gramian)
        weighting._state_key = (len(gramian), gramian.dtype)
        weights: Tensor = weighting(gramian)
        self.goals[pairs] = weighting._phi_t.to(self.goals)
        return weights


class ExcessMTL(Aggregation):
    r"""Excess risks, after `arXiv:2402.02009 <https://arxiv.org/abs/2402.02009>`_.

    .. math:: E_t = \sum_n \frac{g_{tn}^2}{\sqrt{\sum_{\text{steps}} g_{tn}^2}}, \qquad
              w_t \propto w_t\, e^{\eta E_t / E_t(0)}

    with :math:`E_t(0)` of the first step with the task. Those present share the weight that they
    had together; an absent task keeps its own. It remembers one number per task and shared
    parameter.

    Parameters
    ----------
    weights
        The schema's weights, ``[T]``.
    """

    log_weights: Tensor
    first: Tensor
    squares: Tensor

    RATE = 0.01  # the authors'; TorchJD's 1.0 leaves all to one task within a few steps

    def __init__(self, weights: Tensor) -> None:
        super().__init__(weights, aggregation.Mean())
        self.register_buffer("log_weights", torch.full((len(weights),), -float(len(weights))))
        self.register_buffer("first", torch.full((len(weights),), torch.nan))
        # One row per task; how long is known when the first gradient comes.
        self.register_buffer("squares", torch.zeros(len(weights), 0))

    def aggregate(self, matrix: Tensor, places: Tensor) -> Tensor:
        if not self.squares.numel():
            self.squares = matrix.new_zeros(len(self.weights), matrix.shape[1])
        self.squares[places] += matrix.square()
        excess = (matrix.square() / (self.squares[places] + 1e-7).sqrt()).sum(1)
        first = self.first[places]
        first = torch.where(first.isfinite(), first, excess)
        self.first[places] = first
        before = self.log_weights[places]
        moved = before + self.RATE * excess / first.clamp_min(LEAST)
        self.log_weights[places] = moved - moved.logsumexp(0) + before.logsumexp(0)
        return self.log_weights[places].softmax(0) @ matrix

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        self.squares = torch.zeros_like(state_dict[prefix + "squares"], device=self.squares.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Smoothed(Aggregation):
    r"""CR-MOGM: the weights of MGDA, smoothed over steps, after `Zhou et al. 2022
    <https://proceedings.neurips.cc/paper_files/paper/2022/file/f91bd64a3620aad8e70a27ad9cb3ca57-Paper-Conference.pdf>`_.

    .. math:: \lambda_t \leftarrow 0.9\, \lambda_t + 0.1\, k\, \mathrm{MGDA}_t(J),
              \qquad d = \sum_t \frac{\lambda_t}{\sum_s \lambda_s} \nabla \ell_t

    over the present tasks; a task begins with the first weight that it gets.
    """

    smooth: Tensor

    KEPT = 0.9

    def __init__(self, weights: Tensor) -> None:
        super().__init__(weights, by_gramian(self.smoothed))
        self.register_buffer("smooth", torch.full((len(weights),), torch.nan))

    def smoothed(self, gramian: Tensor) -> Tensor:
        new = len(gramian) * aggregation.MGDAWeighting()(gramian).to(self.smooth)
        old = self.smooth[self.places]
        old = torch.where(old.isfinite(), old, new)
        self.smooth[self.places] = self.KEPT * old + (1 - self.KEPT) * new
        return self.smooth[self.places] / self.smooth[self.places].sum()


def impartial_weights(gramian: Tensor) -> Tensor:
    r"""Weights under which all tasks gain alike, after `IMTL-G
    <https://openreview.net/forum?id=IMPnRXEWpvr>`_.

    .. math:: \alpha = v / \textstyle\sum_t |v_t|, \qquad G v = (\lVert g_t \rVert)_t

    The paper divides by :math:`\sum_t v_t`. That is the same where no weight is negative; else
    the sum may be close to zero, for a step of any length, or below, for one against every task.
    """
    v: Tensor = torch.linalg.pinv(gramian) @ gramian.diagonal().sqrt()
    total = v.abs().sum()
    return v / total if total > 0 else v


# Makes an aggregator; whether it is a sum over tasks.
_PLAIN: dict[str, tuple[Callable[[], Callable[[Tensor], Tensor]], bool]] = {
    "mean": (lambda: aggregation.Mean(), False),
    "upgrad": (lambda: by_gramian(aggregation.UPGradWeighting()), False),
    "dual_proj": (lambda: by_gramian(aggregation.DualProjWeighting()), False),
    "mgda": (lambda: by_gramian(aggregation.MGDAWeighting()), False),
    "pcgrad": (lambda: by_gramian(aggregation.PCGradWeighting()), True),
    "cagrad": (lambda: by_arrays(cagrad_weights), False),
    "imtl_g": (lambda: by_gramian(impartial_weights), False),
    "aligned_mtl": (lambda: by_gramian(aggregation.AlignedMTLWeighting()), False),
    "nash_mtl": (lambda: by_arrays(partial(fair_weights, alpha=1.0)), True),
    "fair_grad": (lambda: by_arrays(partial(fair_weights, alpha=2.0)), True),
    "grad_drop": (lambda: aggregation.GradDrop(), True),
    "config": (lambda: aggregation.ConFIG(), True),
    "trimmed_mean": (lambda: trimmed_mean, False),
}
_STATEFUL = {"grad_vac": GradVac, "excess_mtl": ExcessMTL, "cr_mogm": Smoothed}


def make(name: str, weights: Tensor) -> Aggregation:
    """The aggregation of that name."""
    if name in _STATEFUL:
        return _STATEFUL[name](weights)
    make_combine, sums = _PLAIN[name]
    return Aggregation(weights, make_combine(), sums)
