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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Relative fall of each mean loss and its 95 % bootstrap interval.

    The interval is the percentile one over samples. All columns see the same draws, which are what
    costs time.

    Parameters
    ----------
    before, after
        Losses of n samples in P comparisons, ``[n, P]``; NaN where a comparison lacks the sample.
    rng
        Of the draws.
    scale
        Losses ``[n, P]`` that a fall is a share of; those before by default.

    Returns
    -------
    tuple of numpy.ndarray
        Value, low and high, ``[P]`` each; NaN with fewer than two samples.
    """
    fall, known = _falls(before, after)
    base = np.where(known, before if scale is None else scale, 0.0)
    value = fall.sum(0) / np.maximum(base.sum(0), 1e-12)
    drawn = []
    for rows in pieces(DRAWS, len(fall)):
        weights = resampled(rows, len(fall), rng)
        drawn.append((weights @ fall) / np.maximum(weights @ base, 1e-12))
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975], axis=0)
    few = known.sum(0) < 2
    return tuple(np.where(few, np.nan, x) for x in (value, low, high))  # type: ignore[return-value]


def flip_tests(before: np.ndarray, after: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One-sided p-value of each fall, ``[P]``; NaN with fewer than two samples.

    The null is that the change is as likely to help a sample as to hurt it by as much: signs of the
    differences are flipped at random, alike in all columns. Each is tested as if alone, with as
    many flips as the tests of one task graph with these columns need (`monte_carlo.p_values`).

    Parameters
    ----------
    before, after, rng
        As in `paired_gains`.
    """
    fall, known = _falls(before, after)
    total = fall.sum(0)
    slack = 1e-12 * np.abs(fall).sum(0)  # sums in another order may differ by rounding

    def reached(places: np.ndarray, flips: int) -> np.ndarray:
        times = np.zeros(len(places))
        for rows in pieces(flips, len(fall)):
            signs = 2.0 * rng.integers(0, 2, (rows, len(fall)), dtype=np.int8) - 1
            times += (signs @ fall[:, places] >= (total - slack)[places]).sum(0)
        return times

    few = known.sum(0) < 2
    first = np.where(few, np.nan, reached(np.arange(fall.shape[1]), FLIPS))
    return np.where(few, np.nan, p_values(first, FLIPS, reached))


def _falls(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences, 0 where a comparison lacks the sample, and where it has it."""
    known = np.isfinite(before) & np.isfinite(after)
    return np.where(known, before - after, 0.0), known


def paired_gain(
    before: np.ndarray, after: np.ndarray, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """`paired_gains` and `flip_tests` of one comparison, losses ``[n]``."""
    columns = before[:, None], after[:, None]
    value, low, high = paired_gains(*columns, rng)
    p_value = flip_tests(*columns, rng)
    return float(value[0]), float(low[0]), float(high[0]), float(p_value[0])


def as_rise(gain: float) -> float:
    """What undoing a gain costs, as a share of the lower loss: a gain is one of the higher."""
    return gain / (1 - gain)
