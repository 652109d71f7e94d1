"""Weights that never change."""

from __future__ import annotations

from torch import Tensor

from gnnfusion.training.balancing.balancer import Split, Weigher


class Fixed(Weigher):
    r"""The schema's weights alone.

    .. math:: \sum_t w_t L_t, \qquad \text{or as a sum} \quad T \sum_t w_t L_t

    Parameters
    ----------
    weights
        The schema's weights, ``[T]``.
    factor
        Of all of them.
    """

    def __init__(self, weights: Tensor, factor: float) -> None:
        super().__init__(weights)
        self.factor = factor

    def weigh(self, losses: Tensor, places: Tensor, split: Split) -> Tensor:
        return losses.new_full((len(places),), self.factor)


def make(name: str, weights: Tensor) -> Fixed:
    """``static`` or ``sum``."""
    return Fixed(weights, {"static": 1.0, "sum": float(len(weights))}[name])
