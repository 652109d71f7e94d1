"""Weights learned beside the network: one number per task, with an optimizer of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gnnfusion.training.balancing.balancer import LEAST, Split, Weigher

RATE = 0.025  # learning rate of FAMO and GradNorm in their papers


class Numbers(nn.Module):
    """One learned number per task, from zero on, under Adam.

    Adam passes over a parameter without a gradient, so the number of an absent task and its moments
    stay what they were. The moments are part of the `state_dict`.

    Parameters
    ----------
    count
        How many tasks.
    decay
        Pull towards zero (as in FAMO).
    """

    def __init__(self, count: int, decay: float = 0.0) -> None:
        super().__init__()
        self.each = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in range(count))
        self.adam = torch.optim.Adam(self.each, lr=RATE, weight_decay=decay)

    def forward(self, places: Tensor) -> Tensor:
        """The numbers of these tasks ``[k]``, without a graph."""
        return torch.stack([self.each[i].detach() for i in places.tolist()])

    def set(self, places: Tensor, values: Tensor) -> None:
        """Give these tasks the numbers ``[k]``."""
        for i, value in zip(places.tolist(), values, strict=True):
            self.each[i].data.copy_(value)

    def descend(self, places: Tensor, slopes: Tensor) -> None:
        """One step of these tasks down the slopes ``[k]``."""
        self.adam.zero_grad()
        for i, slope in zip(places.tolist(), slopes, strict=True):
            self.each[i].grad = slope.to(self.each[i])
        self.adam.step()
        self.adam.zero_grad()

    def get_extra_state(self) -> dict[str, Any]:
        return self.adam.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state)


class Uncertainty(Weigher):
    r"""Losses over learned variances, after `arXiv:1705.07115 <https://arxiv.org/abs/1705.07115>`_.

    .. math:: \min_{s} \sum_t \tfrac12 e^{-s_t} \ell_t + \tfrac12 s_t,
              \qquad \lambda_t = \tfrac12 e^{-s_t}

    The best variance :math:`\sigma_t^2 = e^{s_t}` is the loss itself. With the factor one in place
    of one half this is `IMTL-L <https://openreview.net/forum?id=IMPnRXEWpvr>`_, whose scales
    :math:`e^{-s_t}` bring every loss to one: Adam does not mind the factor, so the two differ only
    in the size of the network's gradient.

    Parameters
    ----------
    weights
        The schema's weights, ``[T]``.
    factor
        One half, or one.
    """

    def __init__(self, weights: Tensor, factor: float) -> None:
        super().__init__(weights)
        self.factor = factor
        self.log_variance = Numbers(len(weights))

    def weigh(self, losses: Tensor, places: Tensor, split: Split) -> Tensor:
        precision = (-self.log_variance(places)).exp()
        self.log_variance.descend(places, self.factor * (1 - precision * losses))
        return self.factor * precision


class FAMO(Weigher):
    r"""Fast adaptive multitask optimization, after `arXiv:2306.03792
    <https://arxiv.org/abs/2306.03792>`_.

    .. math:: \lambda_t = k \frac{z_t / \ell_t}{\sum_s z_s / \ell_s}, \qquad z = \mathrm{softmax}(w)

    over the present tasks, and after the step one on w, so that all losses fall at the same rate:

    .. math:: w \leftarrow w - \eta \left(\frac{\partial z}{\partial w}^\top \delta
              + \gamma w\right), \qquad
              \delta_t = \log \ell_t(\text{before}) - \log \ell_t(\text{after})

    As in the paper both losses are of the same batch; here also under the same dropout and with
    the same labels shown, so :math:`\delta` is what the step did and nothing else.
    """

    looks_back = True

    def __init__(self, weights: Tensor) -> None:
        super().__init__(weights)
        self.logits = Numbers(len(weights), decay=1e-3)
        # Of the step at hand: nothing that outlives it.
        self.places, self.before = torch.arange(0), torch.zeros(0)

    def weigh(self, losses: Tensor, places: Tensor, split: Split) -> Tensor:
        self.places, self.before = places, losses.detach().clamp_min(LEAST)
        share = self.logits(places).softmax(0) / self.before
        return len(share) * share / share.sum()

    @torch.no_grad()
    def after_step(self, losses: Tensor) -> None:
        if not len(self.places):
            return
        after = self.scaled(losses)[self.places].clamp_min(LEAST)
        gain = self.before.log() - after.log()
        z = self.logits(self.places).softmax(0)
        self.logits.descend(self.places, z * (gain - (z * gain).sum()))
        self.places = self.places[:0]


def make(name: str, weights: Tensor) -> Weigher:
    """``uncertainty``, ``imtl_l`` or ``famo``."""
    if name == "famo":
        return FAMO(weights)
    return Uncertainty(weights, {"uncertainty": 0.5, "imtl_l": 1.0}[name])
