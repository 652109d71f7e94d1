"""Which of many tested pairs are kept: control of the false discovery rate."""

from __future__ import annotations

import numpy as np


def false_discovery(p: np.ndarray) -> np.ndarray:
    r"""p-values ``[m]`` adjusted by Benjamini and Yekutieli (2001), in the order given.

    .. math:: \tilde p_{(i)} = \min_{k \ge i} \min\Bigl(1,
              \frac{m \, c(m)}{k} \, p_{(k)}\Bigr), \qquad c(m) = \sum_{k=1}^m \frac{1}{k}

    Keeping what is at most :math:`\alpha` bounds the expected share of false findings by
    :math:`\alpha` however the tests depend on each other; those of one task graph share rows and a
    network, so independence cannot be claimed.

    References
    ----------
    Benjamini, Y. and Yekutieli, D. (2001). The control of the false discovery rate in multiple
    testing under dependency. Annals of Statistics 29, 1165-1188.
    """
    p = np.asarray(p, dtype=np.float64)
    count = len(p)
    order = np.argsort(p, kind="stable")
    ranks = np.arange(1, count + 1)
    factor = count * (1 / ranks).sum()
    out = np.empty_like(p)
    stepped = np.minimum(1.0, p[order] * factor / ranks)
    out[order] = np.minimum.accumulate(stepped[::-1])[::-1]
    return out
