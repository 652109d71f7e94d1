"""The cut that lets a learned gate be exactly closed or exactly open."""

from __future__ import annotations

from torch import Tensor

LOW, HIGH = -0.1, 1.1
"""How far the paper stretches a gate beyond 0 and 1 before it is cut."""


def stretched_and_cut(s: Tensor) -> Tensor:
    r"""Gates of the hard concrete distribution (Louizos et al., `arXiv:1712.01312
    <https://arxiv.org/abs/1712.01312>`_) from s in (0, 1).

    .. math:: g(s) = \min(1, \max(0, (\zeta - \gamma)\, s + \gamma))
    """
    return (s * (HIGH - LOW) + LOW).clamp(0, 1)
