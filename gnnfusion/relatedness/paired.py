"""Whether a loss falls when something changes: paired differences over samples, many at once."""

from __future__ import annotations

import numpy as np

from gnnfusion.relatedness.monte_carlo import p_values, pieces
from gnnfusion.relatedness.resampling import resampled

DRAWS = 2000
FLIPS = 10_000  # enough for 90 pairs (10 tasks); `p_values` takes more where there are more


def paired_gains(
    before: np.ndarray,
    after: np.ndarray,
    rng: np.random.Generator,
    scale: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Relative fall of each mean loss, its 95 % bootstrap interval, and a one-sided p-value.

    The interval is the percentile one over samples. The null is that the change is as likely to
    help a sample as to hurt it by as much: signs of the differences are flipped at random. All
    columns see the same draws, which are what costs time; each is tested as if alone, with as many
    flips as the tests of one task graph with these columns need (`monte_carlo.p_values`).

    Parameters
    ----------
    before, after
        Losses of n samples in P comparisons, ``[n, P]``; NaN where a comparison lacks the sample.
    rng
        Of draws and flips.
    scale
        Losses ``[n, P]`` that a fall is a share of; those before by default.

    Returns
    -------
    tuple of numpy.ndarray
        Value, low, high and p-value, ``[P]`` each; NaN with fewer than two samples.
    """
    known = np.isfinite(before) & np.isfinite(after)
    count, size = known.sum(0), len(before)
    base = np.where(known, before if scale is None else scale, 0.0)
    fall = np.where(known, before - after, 0.0)
    total = fall.sum(0)
    value = total / np.maximum(base.sum(0), 1e-12)
    drawn = []
    for rows in pieces(DRAWS, size):
        weights = resampled(rows, size, rng)
        drawn.append((weights @ fall) / np.maximum(weights @ base, 1e-12))
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975], axis=0)
    slack = 1e-12 * np.abs(fall).sum(0)  # sums in another order may differ by rounding

    def reached(places: np.ndarray, flips: int) -> np.ndarray:
        times = np.zeros(len(places))
        for rows in pieces(flips, size):
            signs = 2.0 * rng.integers(0, 2, (rows, size), dtype=np.int8) - 1
            times += (signs @ fall[:, places] >= (total - slack)[places]).sum(0)
        return times

    few = count < 2
    first = np.where(few, np.nan, reached(np.arange(fall.shape[1]), FLIPS))
    p_value = p_values(first, FLIPS, reached)
    return tuple(np.where(few, np.nan, x) for x in (value, low, high, p_value))  # type: ignore[return-value]


def paired_gain(
    before: np.ndarray, after: np.ndarray, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """`paired_gains` of one comparison, losses ``[n]``."""
    value, low, high, p_value = paired_gains(before[:, None], after[:, None], rng)
    return float(value[0]), float(low[0]), float(high[0]), float(p_value[0])


def as_rise(gain: float) -> float:
    """What undoing a gain costs, as a share of the lower loss: a gain is one of the higher."""
    return gain / (1 - gain)
