r"""What a step on one task does to the loss of another, averaged over a training.

With :math:`g_i` the gradient of task i's loss :math:`L_i` by the shared parameters :math:`\theta`,
at each probed step of the training (`gnnfusion.training.probes`), on the step's own batch:

``look_ahead``
    :math:`1 - L_j(\theta - \eta\, g_i / \lVert g_i \rVert) / L_j(\theta)`, with the same batch and
    the same units dropped (Fifty et al., arXiv:2109.04617). There the step is in proportion to
    :math:`g_i`, so that a source with large gradients seems to help everyone; here each source
    takes a step of the same length :math:`\eta`.
``first_order``
    :math:`\eta \langle g_i, g_j \rangle / (\lVert g_i \rVert L_j)`, to which it tends as
    :math:`\eta` goes to 0.

Both are invariant to the scales of loss i and loss j. They need no row with both labels.

Question: training with i helps j. They are signs of it, not measurements: see ``transfer``. Their
sign depends on whether the heads happen to read shared features in the same direction. Null: none,
for gradients of tasks that share features are never exactly orthogonal. The interval is
`intervals.mean_interval` over the probed steps of the one training, not over rows: what other steps
of it would say, as far as what a step does neither rises nor falls over the training. There is none
of fewer than `FEWEST` steps. A step at which loss j is 0 says nothing of it.

Cost: see `gnnfusion.training.probes.probe_interval`; a run that was not probed is trained once
more.
"""

from __future__ import annotations

import numpy as np

from gnnfusion.relatedness.agreement import known_mean
from gnnfusion.relatedness.estimators import HELPS
from gnnfusion.relatedness.intervals import mean_interval
from gnnfusion.relatedness.task_graph import OVER_STEPS, TaskGraph
from gnnfusion.schema import Schema
from gnnfusion.training.evidence import kin_matrix
from gnnfusion.training.probes import Probes

FEWEST = 5


def estimate(probes: Probes, schema: Schema, seed: int) -> TaskGraph:
    """Relative fall of loss j after a step on loss i; nothing is drawn."""
    return _graph("look_ahead", look_ahead(probes), schema)


def estimate_first_order(probes: Probes, schema: Schema, seed: int) -> TaskGraph:
    """Relative fall of loss j that a step on loss i promises; nothing is drawn."""
    return _graph("first_order", first_order(probes), schema)


def look_ahead(probes: Probes) -> np.ndarray:
    """Look-ahead affinity at each step, ``[P, T, T]``, from source to target."""
    found: np.ndarray = 1 - probes.ahead.numpy() / _losses(probes)
    return found


def first_order(probes: Probes) -> np.ndarray:
    """First-order affinity at each step, ``[P, T, T]``, from source to target."""
    gramian = probes.gramian.numpy()
    square = np.diagonal(gramian, axis1=1, axis2=2)
    size = np.sqrt(np.where(square > 0, square, np.nan))
    step = probes.length.numpy()[:, None, None] / size[:, :, None]
    found: np.ndarray = step * gramian / _losses(probes)
    return found


def _losses(probes: Probes) -> np.ndarray:
    """Loss of each target ``[P, 1, T]``; NaN where it is 0, of which nothing is a share."""
    loss = probes.loss.numpy()
    return np.where(loss > 0, loss, np.nan)[:, None, :]


def _graph(method: str, values: np.ndarray, schema: Schema) -> TaskGraph:
    """Mean ``[T, T]`` of values ``[P, T, T]`` over the steps at which a pair could be measured."""
    count = values.shape[1]
    kin = kin_matrix(schema).numpy() & ~np.eye(count, dtype=bool)
    values = np.where(kin | np.eye(count, dtype=bool), np.nan, values)
    known = np.isfinite(values)
    low, high = mean_interval(values)
    few = known.sum(0) < FEWEST
    return TaskGraph(
        tasks=schema.task_names,
        method=method,
        question=HELPS,
        value=known_mean(values),
        low=np.where(few, np.nan, low),
        high=np.where(few, np.nan, high),
        p_value=np.full((count, count), np.nan),
        n=known.sum(0),
        derived=kin,
        unit="share of j's loss in one step",
        ranks_only=True,
        over=OVER_STEPS,
        notes=("n counts probed steps",),
    )
