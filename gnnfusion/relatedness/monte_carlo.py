"""p-values by random draws that can become findings however many tests there are."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

ALPHA = 0.05  # of `TaskGraph.alpha`
HELD = 4_000_000  # numbers at a time

Further = Callable[[np.ndarray, int], np.ndarray]
"""How often so many further draws reach the statistics of the tests at these places."""


def p_values(reached: np.ndarray, draws: int, further: Further) -> np.ndarray:
    r"""p-values of all tests of one task graph, from draws under their nulls.

    Of N draws of which k reach the statistic, :math:`p = (k + 1) / (N + 1)`, at least 1 / (N + 1).
    Of m tests, r on that floor are findings (`TaskGraph.p_adjusted`) if

    .. math:: N + 1 \ge \frac{m}{\alpha r} \sum_{l=1}^m \frac{1}{l}

    Where it is higher than that, those on it, and only those, are drawn further, to twice as many
    as it takes, until they leave it or it is low enough. In all that is about as many draws as one
    test alone would need. Whoever leaves the floor does so with all draws counted, so a p-value
    keeps its meaning.

    Parameters
    ----------
    reached
        How often each statistic was reached, ``[m]``; NaN for what cannot be tested.
    draws
        Draws until now.
    further
        Makes more.
    """
    reached = np.array(reached, dtype=np.float64)
    tests = int(np.isfinite(reached).sum())
    total = np.full(reached.shape, float(draws))
    needed = tests * sum(1 / n for n in range(1, tests + 1)) / ALPHA
    floor = np.flatnonzero(reached == 0)
    while len(floor) and (draws + 1) * len(floor) < needed:
        more = math.ceil(2 * needed / len(floor)) - draws
        reached[floor] += further(floor, more)
        draws += more
        total[floor] = draws
        floor = floor[reached[floor] == 0]
    found: np.ndarray = (1 + reached) / (total + 1)
    return found


def pieces(draws: int, size: int, most: int | None = None) -> list[int]:
    """So many draws of `size` numbers each in pieces of at most `most` numbers, else `HELD`."""
    step = max(1, (most or HELD) // max(1, size))
    return [min(step, draws - start) for start in range(0, draws, step)]
