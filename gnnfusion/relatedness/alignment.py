r"""How well two sets of outputs or residuals of the same rows align, linearly.

Of centred X ``[n, a]`` and Y ``[n, b]`` (Kornblith et al., arXiv:1905.00414)

.. math:: a(X, Y) = \frac{\lVert X^\top Y \rVert_F^2}
                         {\lVert X^\top X \rVert_F \lVert Y^\top Y \rVert_F}

between 0 and 1, for single columns the squared correlation, also known as the RV coefficient.
"""

from __future__ import annotations

import numpy as np


def aligned(x: np.ndarray, y: np.ndarray) -> float:
    """Alignment of ``[n, a]`` and ``[n, b]``; NaN if one is constant."""
    x, y = x - x.mean(0), y - y.mean(0)
    scale = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.square(x.T @ y).sum() / scale) if scale > 0 else float("nan")


def aligned_without(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    r"""Alignment of all rows but one, for each row, ``[n]``.

    Without row r, :math:`X^\top Y` is less by :math:`\tfrac{n}{n - 1} x_r y_r^\top`.
    """
    x, y = x - x.mean(0), y - y.mean(0)
    scale = _norms_without(x, x) * _norms_without(y, y)
    found: np.ndarray = _norms_without(x, y) / np.sqrt(np.maximum(scale, 1e-300))
    return found


def _norms_without(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared norm of the cross product of all rows but one, ``[n]``."""
    more, cross = len(x) / (len(x) - 1), x.T @ y
    own = np.square(x).sum(1) * np.square(y).sum(1)
    less = ((x @ cross) * y).sum(1)
    found: np.ndarray = np.square(cross).sum() - 2 * more * less + more**2 * own
    return np.maximum(found, 0.0)
