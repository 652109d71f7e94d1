"""Whether a loss falls when something changes: paired differences over samples, many at once."""

from __future__ import annotations

import numpy as np

from gnnfusion.relatedness.resampling import resampled

DRAWS = 2000
FLIPS = 10_000  # the least p-value is 1 / FLIPS: 90 pairs (10 tasks) stay testable after adjustment
CHUNK = 4_000_000  # numbers held at a time


def paired_gains(
    before: np.ndarray, after: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Relative fall of each mean loss, its 95 % bootstrap interval, and a one-sided p-value.

    The interval is the percentile one over samples. The null is that the change is as likely to
    help a sample as to hurt it by as much: signs of the differences are flipped at random. All
    columns see the same draws, which are what costs time; each is tested as if alone.

    Parameters
    ----------
    before, after
        Losses of n samples in P comparisons, ``[n, P]``; NaN where a comparison lacks the sample.
    rng
        Of draws and flips.

    Returns
    -------
    tuple of numpy.ndarray
        Value, low, high and p-value, ``[P]`` each; NaN with fewer than two samples.
    """
    known = np.isfinite(before) & np.isfinite(after)
    count, size = known.sum(0), len(before)
    base = np.where(known, before, 0.0)
    fall = np.where(known, before - after, 0.0)
    total = fall.sum(0)
    value = total / np.maximum(base.sum(0), 1e-12)
    step = max(1, CHUNK // max(1, size))
    drawn = []
    for start in range(0, DRAWS, step):
        rows = min(step, DRAWS - start)
        weights = resampled(rows, size, rng)
        drawn.append((weights @ fall) / np.maximum(weights @ base, 1e-12))
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975], axis=0)
    reached = np.zeros(fall.shape[1])
    slack = 1e-12 * np.abs(fall).sum(0)  # sums in another order may differ by rounding
    for start in range(0, FLIPS, step):
        signs = 2.0 * rng.integers(0, 2, (min(step, FLIPS - start), size), dtype=np.int8) - 1
        reached += (signs @ fall >= total - slack).sum(0)
    p_value = (1 + reached) / (FLIPS + 1)
    few = count < 2
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
