"""Weights that are the solution of a small convex problem, from the Gramian of the gradients.

TorchJD solves these with cvxpy, whose failures it passes over (Nash-MTL), or with a least-squares
search that does not say whether it has arrived (FairGrad). Here an answer is exact or an error.
"""

from __future__ import annotations

import numpy as np
from quadprog import solve_qp
from scipy.optimize import minimize_scalar

from gnnfusion.errors import RunError

RADIUS = 0.5  # of CAGrad: how far from the mean gradient, in units of its length


def fair_weights(gramian: np.ndarray, alpha: float) -> np.ndarray:
    r"""Weights of the alpha-fair step, after `arXiv:2402.15638 <https://arxiv.org/abs/2402.15638>`_.

    .. math:: G x = x^{-1 / \alpha} \quad (x > 0)

    which for :math:`\alpha = 1` is the Nash bargaining solution (`arXiv:2202.01017
    <https://arxiv.org/abs/2202.01017>`_). It is the minimum of the convex function
    :math:`\tfrac12 x^\top G x - \sum_t u(x_t)`, :math:`u'(x) = x^{-1 / \alpha}`, found by Newton's
    method.

    Parameters
    ----------
    gramian
        Inner products of the gradients ``[k, k]`` in double precision, of trace one.
    alpha
        1 or above.

    Raises
    ------
    RunError
        Newton's method did not arrive.
    """
    power = 1 / alpha
    # Gradients that cancel each other exactly have no solution; this bounds their weights.
    gramian = gramian + 1e-8 * np.eye(len(gramian))

    def slope(x: np.ndarray) -> np.ndarray:
        found: np.ndarray = gramian @ x - x**-power
        return found

    x = np.ones(len(gramian))
    for _ in range(200):
        here = slope(x)
        if np.abs(here * x**power).max() < 1e-5:
            return x
        step = np.linalg.solve(gramian + np.diag(power * x ** (-power - 1)), -here)
        # Halved until the slope along it has shrunk as it should; the value would be too coarse.
        length, along = 1.0, abs(here @ step)
        while (x + length * step).min() <= 0 or (
            abs(slope(x + length * step) @ step) > (1 - length / 2) * along
        ):
            length /= 2
        x = x + length * step
    raise RunError("no fair weights were found for the gradients of a step; use another balancing")


def cagrad_weights(gramian: np.ndarray) -> np.ndarray:
    r"""Weights of conflict-averse gradient descent, after `arXiv:2110.14048
    <https://arxiv.org/abs/2110.14048>`_.

    .. math:: \max_d \min_t \langle g_t, d \rangle \quad \text{with} \quad
              \lVert d - g_0 \rVert \le \tfrac12 \lVert g_0 \rVert

    with :math:`g_0` the mean gradient. Its dual is the minimum of
    :math:`\langle g_w, g_0 \rangle + \tfrac12 \lVert g_0 \rVert \lVert g_w \rVert` over mixtures
    :math:`g_w` of the gradients. For a fixed s in :math:`\lVert g_w \rVert =
    \min_s (\lVert g_w \rVert^2 / s + s) / 2` that is a quadratic program, and in s it is convex.

    Parameters
    ----------
    gramian
        Inner products of the gradients ``[k, k]``, of trace one.

    Raises
    ------
    RunError
        A program could not be solved.
    """
    count = len(gramian)
    even = np.full(count, 1 / count)
    pull = gramian @ even
    reach = RADIUS * np.sqrt(max(even @ pull, 0.0))
    if reach < 1e-9:  # the gradients cancel: there is no way that all gain from
        return even
    simplex = np.hstack([np.ones((count, 1)), np.eye(count)])
    bounds = np.concatenate([[1.0], np.zeros(count)])

    def mixture(size: float) -> tuple[np.ndarray, float]:
        square = reach / size * gramian + 1e-9 * np.eye(count)
        try:
            w, least, *_ = solve_qp(square, -pull, simplex, bounds, 1)
        except ValueError as error:
            raise RunError(f"the program of cagrad could not be solved: {error}") from error
        return w, least + reach * size / 2

    longest = np.sqrt(gramian.diagonal().max())
    found = minimize_scalar(
        lambda size: mixture(size)[1], bounds=(1e-6, longest), method="bounded",
        options={"xatol": 1e-8},
    )  # fmt: skip
    w = mixture(found.x)[0]
    length = np.sqrt(max(w @ gramian @ w, 0.0))
    return even if length < 1e-6 else even + reach / length * w
