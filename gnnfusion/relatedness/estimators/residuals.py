r"""Whether two tasks' labels go together beyond what the network makes of the features.

The residual of task t is minus the gradient of its loss by its outputs: of a regression the
standardized target less the prediction, of a class task the indicator of the class less its
probability, of an ordinal one the same at each threshold. With :math:`R_i` ``[n, a]`` and
:math:`R_j` ``[n, b]`` the centred residuals on the n held-out rows that have both labels,

.. math:: v_{ij} = \frac{\lVert R_i^\top R_j \rVert_F}
                        {\sqrt{\lVert R_i^\top R_i \rVert_F \lVert R_j^\top R_j \rVert_F}}

the root of the RV coefficient, and for tasks with one output each the absolute correlation.

Question: label i informs j beyond the features, in both directions alike. It needs no network that
reads labels, and no more than two forward passes' time.

Null: given the features, the labels are independent; then products of residuals have mean 0 (the
generalized covariance measure of Shah and Peters, arXiv:1804.07203). The statistic is the largest
absolute t value of the products :math:`R_{ia} R_{jb}`, compared with that of products whose signs
are flipped row by row. It holds as far as the network has learned what the features say of the
labels: a signal that it missed in both tasks is left in both residuals.

Intervals, over rows: of two tasks with one output, `intervals.correlation_interval` of a bootstrap
of the signed correlation; of others `intervals.square_interval` of the squared value.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.nn.readout import Head
from gnnfusion.relatedness.alignment import aligned, aligned_without
from gnnfusion.relatedness.estimators import BEYOND, INFORMS
from gnnfusion.relatedness.estimators.pairs import Found, graph_of_pairs
from gnnfusion.relatedness.intervals import correlation_interval, square_interval
from gnnfusion.relatedness.monte_carlo import pieces
from gnnfusion.relatedness.resampling import resampled
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evaluate import outputs
from gnnfusion.training.objective import sample_losses

DRAWS = 2000
FLIPS = 10_000
FEWEST = 8  # with fewer rows every flip of signs gives nearly the same t value


def estimate(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """Association of the residuals of every pair of tasks on `rows`."""
    found = outputs(network, store, rows)
    left = [_task_residuals(network.head(t), store, rows, t, out) for t, out in found.items()]

    def measure(i: int, j: int, both: np.ndarray, rng: np.random.Generator) -> Found:
        return with_interval(left[i][both], left[j][both], rng)

    def null(i: int, j: int, both: np.ndarray, draws: int, rng: np.random.Generator) -> float:
        return reached(left[i][both], left[j][both], draws, rng)

    return graph_of_pairs(
        "residuals", INFORMS, store, rows, seed, measure, null, draws=FLIPS, fewest=FEWEST,
        unit="association of residuals", notes=(BEYOND,),
    )  # fmt: skip


def residuals(head: Head, out: Tensor, target: Tensor) -> Tensor:
    """Minus the gradient of the summed loss by the outputs ``[n, K]``."""
    with torch.enable_grad():
        free = out.detach().requires_grad_()
        loss = sample_losses(head, free, target).sum()
        (gradient,) = torch.autograd.grad(loss, free)
    return -gradient


def _task_residuals(
    head: Head, store: GraphStore, rows: Tensor, task: str, out: Tensor
) -> np.ndarray:
    """Residuals ``[n, K]``; NaN where there is no label."""
    known = store.mask(task)[rows]
    device = next(head.parameters()).device
    found = np.full(tuple(out.shape), np.nan)
    target = store.target(task)[rows][known].to(device)
    found[known.numpy()] = residuals(head, out[known].to(device), target).double().cpu().numpy()
    return found


def association(
    a: np.ndarray, b: np.ndarray, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Association of residuals ``[n, a]`` and ``[n, b]``, its interval and its p-value."""
    found = with_interval(a, b, rng)
    return *found, (1 + reached(a, b, FLIPS, rng)) / (FLIPS + 1)


def reached(a: np.ndarray, b: np.ndarray, flips: int, rng: np.random.Generator) -> float:
    """In how many flips of signs some product's t value is as large as the largest there is.

    NaN where one of the residuals ``[n, a]`` and ``[n, b]`` is constant.
    """
    a, b = a - a.mean(0), b - b.mean(0)
    n, times = len(a), 0
    products = (a[:, :, None] * b[:, None, :]).reshape(n, -1)
    products = products[:, (products != 0).any(0)]
    if not products.size:
        return float("nan")
    size = np.sqrt((products**2).sum(0))
    scaled = products / size
    statistic = np.abs(products.sum(0) / size).max()
    for some in pieces(flips, n):
        bits = rng.integers(0, 256, (some, -(-n // 8)), dtype=np.uint8)  # a row's sign is a bit
        plus = np.unpackbits(bits, axis=1, count=n).astype(np.float64) @ scaled
        null = np.abs(2 * plus - scaled.sum(0)).max(1)
        times += int((null >= statistic - 1e-12).sum())
    return float(times)


def with_interval(
    a: np.ndarray, b: np.ndarray, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Association of residuals ``[n, a]`` and ``[n, b]`` and its 95 % interval; NaN if constant."""
    value = aligned(a, b) ** 0.5
    if not np.isfinite(value):
        return float("nan"), float("nan"), float("nan")
    if a.shape[1] > 1 or b.shape[1] > 1:
        low, high = np.sqrt(square_interval(value**2, aligned_without(a, b)))
        return value, float(low), float(high)
    n, (x, y) = len(a), (a[:, 0] - a.mean(), b[:, 0] - b.mean())
    moments = np.column_stack([x, y, x * x, y * y, x * y])
    mx, my, xx, yy, xy = (resampled(DRAWS, n, rng) @ moments / n).T
    scale = np.sqrt(np.maximum((xx - mx * mx) * (yy - my * my), 1e-300))
    low, high = np.quantile((xy - mx * my) / scale, [0.025, 0.975])
    return value, *correlation_interval(value if x @ y >= 0 else -value, low, high)
