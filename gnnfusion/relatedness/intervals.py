"""Intervals of means of few, skewed values, and of measures that are squares."""

from __future__ import annotations

import numpy as np

FEWEST = 5  # values from which their skewness says more than it disturbs
WIDER = 2.0


def mean_interval(values: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    r"""Interval of the mean of values that may be skewed.

    Absolute cosines and correlations pile up near 0, and Student's interval of their mean holds it
    too seldom: of five squared normal numbers in 83 %, of ten absolute ones in 93 %. So the
    t statistic is first freed of skewness (Hall, 1992, doi:10.1111/j.2517-6161.1992.tb01872.x):
    with mean m, standard deviation s and skewness :math:`\gamma` of n values,

    .. math:: g(T) = T + \frac{\gamma}{3} T^2 + \frac{\gamma^2}{27} T^3 + \frac{\gamma}{6 n},
              \qquad T = \frac{m - \mu}{s}

    and the ends are at :math:`g(T) = \pm (1 + 2 / n^2)\, t_{n - 1} / \sqrt n`. The factor is for
    what the skewness of few values adds in noise. With it the mean of five values is held in 95.4 %
    where they are normal, 95.0 % where they are absolute values of such, and 94.7 % where they are
    gamma distributed with skewness 1, that of eight in 95.2, 95.7 and 94.9 %; without it in 0.4 to
    1.0 % less. Five squares of normal numbers remain too skewed: 91.7 % (all simulated). Of fewer
    than five it is Student's.

    Parameters
    ----------
    values
        ``[n, ...]``; what is NaN is not there.
    level
        Confidence.

    Returns
    -------
    tuple
        Low and high, ``[...]``; NaN where fewer than two values are.
    """
    from scipy.stats import t  # not at the top: it takes long to import

    known = np.isfinite(values)
    n = known.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, values, 0.0).sum(0) / n
        apart = np.where(known, values - mean, 0.0)
        spread = np.sqrt((apart**2).sum(0) / (n - 1))
        skewness = n * (apart**3).sum(0) / ((n - 1) * (n - 2) * spread**3)
        skewness = np.where((n >= FEWEST) & np.isfinite(skewness), skewness, 0.0)
        reach = t.ppf(0.5 + level / 2, n - 1) / np.sqrt(n)
        reach = reach * np.where(n >= FEWEST, 1 + WIDER / n**2, 1.0)
        ends = [mean - spread * _unskewed(sign * reach, skewness, n) for sign in (1, -1)]
    return ends[0], ends[1]


def square_interval(value: float, without: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    r"""Interval of a measure between 0 and 1 that is the square of a distance from 0.

    Mutual information, squared correlations and alignments are at least 0, by chance larger, and
    near 0 spread like :math:`\chi^2`, so that bootstraps of them hold the truth too seldom, of
    alignments that are 0 in half of the cases. The bias b and variance :math:`s^2` of the value v,
    by the jackknife, are those of

    .. math:: v \sim c\, \chi^2_k(\lambda), \qquad c = \frac{s^2}{4 v}, \quad
              k = \frac{b}{c}, \quad \text{truth} = c \lambda

    whose noncentrality :math:`\lambda` has an exact interval. Far from 0 it is
    :math:`v - b \pm 2 s`, nearly; near 0, where each row moves v by its square, c and k are those
    of the :math:`\chi^2` statistic itself. The value itself is always within.

    Parameters
    ----------
    value
        Of all n rows.
    without
        Of all rows but one, ``[n]``.
    level
        Confidence.
    """
    from scipy.special import chndtrinc  # not at the top: it takes long to import

    n, mean = len(without), float(np.mean(without))
    unit = (n - 1) / n * float(np.square(without - mean).sum()) / (4 * max(value, 1e-300))
    if not unit > 1e-14:  # nothing varies: all is explained, or nothing can be
        return value, value
    degrees = max((n - 1) * (mean - value) / unit, 1e-3)
    tails = np.array([0.5 + level / 2, 0.5 - level / 2])
    found = chndtrinc(value / unit, degrees, tails)
    low, high = np.clip(unit * np.where(found > 1e-9, found, 0.0), 0, 1)
    return min(value, float(low)), max(value, float(high))


def _unskewed(y: np.ndarray, skewness: np.ndarray, n: np.ndarray) -> np.ndarray:
    """The T for which g(T) is y."""
    some = np.abs(skewness) > 1e-6
    safe = np.where(some, skewness, 1.0)
    root = np.cbrt(1 + safe * (y - safe / (6 * n)))
    found: np.ndarray = np.where(some, 3 / safe * (root - 1), y)
    return found
