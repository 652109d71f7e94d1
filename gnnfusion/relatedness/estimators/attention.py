"""Attention between task nodes, always beside its control.

The value of (i, j) is the attention that task j pays to task i, averaged over samples, layers and
heads, relative to uniform (1 = no preference). What the attention is worth is the loss of score
when it is replaced by uniform: where that is nothing, the picture is not interpretable.

Null: j attends to i no more than to the mean of the others (one-sided t test over rows). Attention
below uniform is no sign that i informs j, so it is never a finding.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from scipy.stats import ttest_1samp
from torch import Tensor

from gnnfusion.errors import UsageError
from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.fusion.graph import GraphFusion
from gnnfusion.nn.network import RELATES, FusionNetwork, SharedNetwork
from gnnfusion.relatedness.estimators.ablation import has_relates
from gnnfusion.relatedness.paired import paired_gain
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evaluate import loss_table
from gnnfusion.training.evidence import kin_matrix

BATCH = 256
# The others have none, or one that tasks and modalities share, which says nothing of tasks alone.
FUSIONS_WITH_ATTENTION = ("gat", "gatv2")
DRAWS = 2000


def estimate(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """Attention of every ordered pair on `rows`; `UsageError` if the fusion has none."""
    _check(network, store)
    weights = sample_attention(network, store, rows).mean(1)
    return _graph("attention", weights, network, store, rows, seed)


def estimate_attention_rollout(
    network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int
) -> TaskGraph:
    r"""Attention followed through the layers (Abnar and Zuidema, arXiv:2005.00928).

    The product over layers of :math:`\tfrac{1}{2} (A_l + I)`, the identity for the residual path,
    without its diagonal and with columns that sum to one again.
    """
    _check(network, store)
    layers = sample_attention(network, store, rows)
    total = np.eye(layers.shape[-1])
    for n in range(layers.shape[1]):
        # Columns are targets: what a target hears comes first from the layer before.
        total = total @ (0.5 * (layers[:, n] + np.eye(layers.shape[-1])))
    total = total * ~np.eye(layers.shape[-1], dtype=bool)
    weights = total / np.maximum(total.sum(1, keepdims=True), 1e-12)
    return _graph("attention_rollout", weights, network, store, rows, seed)


def _check(network: FusionNetwork, store: GraphStore) -> None:
    """`UsageError` if the network has no attention between tasks."""
    fusion = network.config.fusion
    if fusion not in FUSIONS_WITH_ATTENTION:
        raise UsageError(
            f"the fusion {fusion!r} has no attention among tasks alone; use --method labels, or "
            f"train with {' or '.join(FUSIONS_WITH_ATTENTION)}"
        )
    if not network.reads_labels:
        raise UsageError(
            f"the sharing {network.config.sharing!r} has no task nodes, so no attention among "
            "them; use --method labels, or train with --sharing task_nodes"
        )
    if network.config.groups:
        raise UsageError(
            "tasks of different groups share no network, so there is no attention among all; "
            "use --method labels or evidence"
        )
    if not has_relates(store):
        raise UsageError("the topology has no `relates`, so no attention between tasks")


def _graph(
    method: str,
    weights: np.ndarray,
    network: FusionNetwork,
    store: GraphStore,
    rows: Tensor,
    seed: int,
) -> TaskGraph:
    """From each sample's attention ``[n, T, T]`` to the task graph with its control."""
    tasks = store.schema.task_names
    count = len(tasks)
    weights = weights * max(1, count - 1)
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(weights), (DRAWS, len(weights)))
    share = np.apply_along_axis(np.bincount, 1, picks, minlength=len(weights)) / len(weights)
    drawn = share @ weights.reshape(len(weights), -1)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0).reshape(2, count, count)
    value = weights.mean(0)
    with warnings.catch_warnings():
        # Attention that never varies (two tasks: it is always 1) has no test, and NaN says so.
        warnings.simplefilter("ignore", RuntimeWarning)
        p_value = ttest_1samp(weights, 1.0, axis=0, alternative="greater").pvalue
    for matrix in (value, low, high, p_value):
        np.fill_diagonal(matrix, np.nan)
    control = uniform_control(network, store, rows, seed)
    return TaskGraph(
        tasks=tasks,
        method=method,
        question="label i informs j beyond the features",
        value=value,
        low=low,
        high=high,
        p_value=p_value,
        n=np.full((count, count), len(rows)),
        derived=kin_matrix(store.schema).numpy() & ~np.eye(count, dtype=bool),
        control=control,
        null=1.0,
        unit="attention relative to uniform",
    )


@torch.no_grad()
def sample_attention(network: FusionNetwork, store: GraphStore, rows: Tensor) -> np.ndarray:
    """Mean over heads of attention, ``[n, layers, T, T]``: from source i to target j."""
    topology, count = topology_of(store), len(store.schema.tasks)
    assert isinstance(network, SharedNetwork)
    assert isinstance(network.fusion, GraphFusion)
    device = next(network.parameters()).device
    parts = []
    for chosen in rows.split(BATCH):
        batch = make_batch(store, chosen, topology).to(device)
        weights = network.fusion.attention(network.encode(batch), batch.edges, RELATES)
        index = batch.edges[RELATES].index
        dense = torch.zeros(len(weights), len(chosen), count, count, device=device)
        dense[:, index[1] // count, index[0] % count, index[1] % count] = weights.mean(2)
        parts.append(dense.transpose(0, 1).cpu())
    return torch.cat(parts).double().numpy()


def uniform_control(
    network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int
) -> dict[str, float | bool | str]:
    """What replacing attention between tasks by uniform costs, as a share of the mean loss."""
    rows = rows[store.masks[rows].any(1)]
    assert isinstance(network, SharedNetwork)
    assert isinstance(network.fusion, GraphFusion)
    learned = loss_table(network, store, rows)
    with network.fusion.uniform_attention(RELATES):
        uniform = loss_table(network, store, rows)
    scale = np.nanmean(learned, axis=0)
    a, b = (np.nanmean(x / scale, axis=1) for x in (uniform, learned))
    loss, low, high, p_value = paired_gain(a, b, np.random.default_rng(seed))
    interpretable = low > 0
    return {
        "what": "loss of score when attention between tasks is replaced by uniform",
        "value": loss,
        "low": low,
        "high": high,
        "p_value": p_value,
        "interpretable": interpretable,
        "verdict": "attention carries some of the score" if interpretable else "not interpretable",
    }
