r"""Whether two tasks pull at the same shared parameters.

On each batch of `SIZE` held-out rows, with nothing known and nothing dropped, :math:`g_t` is the
gradient of task t's mean loss by the parameters that tasks share:

.. math:: v_{ij} = \frac{1}{B} \sum_{b=1}^{B} \lvert \cos(g_i^b, g_j^b) \rvert

after the gradient cosine of Yu et al., arXiv:2001.06782. The sign is left out, for it says whether
the heads happen to read the shared features in the same direction; a task and its negation are as
related as two copies. Batches are kept small: labels that go together show in the cosine of a
batch, and wash out in that of all rows, where the gradients of a trained network are near 0.

Symmetric; invariant to the scale of any loss; needs no row with both labels, though it is then the
weaker. Question: training with i helps j, of which this is a sign and no measurement. Null: none.
The interval (`intervals.mean_interval`) is over the batches, which are disjoint samples of rows.
Cost: T backward passes over the held-out rows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.agreement import known_mean
from gnnfusion.relatedness.estimators import HELPS
from gnnfusion.relatedness.intervals import mean_interval
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.balancing.balancer import jacobian, split_parameters, task_gradients
from gnnfusion.training.evidence import kin_matrix
from gnnfusion.training.objective import task_losses

SIZE = 32  # rows of a batch


def estimate(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """Mean absolute cosine of the gradients of every pair of tasks, over batches of `rows`.

    Parameters
    ----------
    seed
        Of the order in which rows are put into batches.
    """
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    values = np.abs(cosines(network, store, rows[order]))
    count = np.isfinite(values).sum(0)
    kin = kin_matrix(store.schema).numpy() & ~np.eye(len(values[0]), dtype=bool)
    values = np.where(kin, np.nan, values)
    low, high = mean_interval(values)
    return TaskGraph(
        tasks=store.schema.task_names,
        method="gradient",
        question=HELPS,
        value=known_mean(values),
        low=low,
        high=high,
        p_value=np.full_like(low, np.nan),
        n=count,
        derived=kin,
        symmetric=True,
        unit="mean absolute cosine of gradients",
        ranks_only=True,
        notes=(f"n counts batches of {SIZE} rows",),
    )


def cosines(network: FusionNetwork, store: GraphStore, rows: Tensor) -> np.ndarray:
    """Cosine of each pair of gradients on each batch, ``[B, T, T]``.

    NaN where a task has no label in the batch, or no gradient.
    """
    network.eval()
    device, topology = next(network.parameters()).device, topology_of(store)
    split = split_parameters(network, store)
    found = []
    for chosen in rows.split(SIZE):
        batch = make_batch(store, chosen, topology).to(device)
        with torch.enable_grad():
            losses = task_losses(network, network(batch), batch, batch.masks)
        matrix = jacobian(task_gradients(losses, split.shared), split.shared).double().cpu()
        size = matrix.norm(dim=1)
        size[~batch.masks.any(0).cpu() | (size == 0)] = torch.nan
        found.append(((matrix @ matrix.T) / size.outer(size)).numpy())
    return np.stack(found)
