"""Controls of a task graph: what its values must not survive, and what they should agree with.

``seeds``
    Rank correlation of the values of trainings with different seeds; needs `retrained`.
``ablation``
    Rank correlation with `ablation_total`: what cutting a task off costs the others.
``random_weights``
    The method on the same network with fresh weights. A ranking that is still there comes from the
    labels, the features or the architecture, not from what was learned (Adebayo et al.,
    `arXiv:1810.03292 <https://arxiv.org/abs/1810.03292>`_). Whether it is there is asked by
    permuting tasks (`agreement.qap_p`); that it is not can only fail to be shown.
``random_labels``
    Labels shuffled over the rows that have one, after which about no pair may be significant; left
    out where no pair is tested. Of ``labels`` both; of ``evidence`` those that are shown, for a
    wrong label must not help. Other methods have none: shuffled labels leave the predictions, which
    are related, in the residuals, and what a cut costs is no longer what the network has learned.
``necessity``, ``sufficiency``
    See `gnnfusion.relatedness.fidelity`.

Rank correlations are within targets (`agreement.spearman`). Cost: the method twice, and a dozen
passes over the held-out rows for each task.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnfusion.graphs.batch import GraphBatch, make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.store_file import Overlay
from gnnfusion.nn.network import FusionNetwork, network_for
from gnnfusion.relatedness.agreement import qap_p, spearman
from gnnfusion.relatedness.estimators import SHOWING, evidence
from gnnfusion.relatedness.estimators.ablation import relates, total_rise
from gnnfusion.relatedness.fidelity import fidelity
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.balancing.balancer import split_parameters
from gnnfusion.training.objective import task_losses
from gnnfusion.training.probes import Probes, probe_step
from gnnfusion.training.seeding import seed_torch

Control = dict[str, Any]
"""``value``, a ``sentence`` that says what came out, and ``passed``: None where either is well, or
it is left open."""
Again = Callable[[FusionNetwork | None, GraphStore], TaskGraph]

DRAWS = 2000  # orders of tasks
LOW = 0.3  # a rank correlation that tells less than a tenth
STEPS = 8  # probes of a network that was not trained


def run_controls(
    graph: TaskGraph,
    network: FusionNetwork | None,
    store: GraphStore,
    rows: Tensor,
    seed: int,
    again: Again,
) -> dict[str, Control]:
    """Those controls that the graph's method and network have.

    Parameters
    ----------
    graph
        What is controlled.
    network
        The network that it is of; None for a method that needs none.
    store, rows
        Samples, and those that it was measured on, or that are passed through the network.
    seed
        Of fresh weights, shuffles and draws.
    again
        The method on another network or store.
    """
    found = dict[str, Control]()
    if graph.retrained is not None:
        found |= seed_agreement(graph.retrained)
    if network is not None and _comparable(graph.value):
        if relates(network, store) and graph.method != "ablation_total":
            found |= ablation_agreement(graph.value, total_rise(network, store, rows))
        bare = again(fresh(network, store, seed), store).value
        found |= weights_randomized(graph.value, bare, seed)
    if np.isfinite(graph.p_adjusted).any():
        wrong = with_shuffled_labels(store, rows, seed)
        if graph.method == "labels":
            found |= labels_randomized(graph, again(None, wrong))
        if graph.method == "evidence" and network is not None:
            found |= labels_randomized(graph, evidence.estimate(network, store, rows, seed, wrong))
    if network is not None and graph.interpretable:
        told = graph.method in SHOWING  # whose network has learned to read labels
        found |= fidelity(network, store, rows, graph.significant, seed, told=told)
    return found


def seed_agreement(values: np.ndarray) -> dict[str, Control]:
    """Mean rank correlation between the values ``[S, T, T]`` of all pairs of seeds."""
    if not (len(values) > 1 and _comparable(values[0])):
        return {}
    each = [float(spearman(a, b)) for a, b in combinations(values, 2)]
    value = float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")
    sentence = f"trainings of {len(values)} seeds agree by a rank correlation of {value:.2f}"
    return {"seeds": {"value": value, "passed": None, "sentence": sentence}}


def ablation_agreement(value: np.ndarray, rise: np.ndarray) -> dict[str, Control]:
    """Rank correlation with what cutting the source off costs the target, both ``[T, T]``."""
    found = float(spearman(value, rise))
    if not np.isfinite(found):
        return {}
    sentence = f"rank correlation with what cutting a task off costs the others: {found:.2f}"
    return {"ablation": {"value": found, "passed": None, "sentence": sentence}}


def weights_randomized(value: np.ndarray, bare: np.ndarray, seed: int) -> dict[str, Control]:
    """Rank correlation with the values of an untrained network, both ``[T, T]``.

    That a correlation is not significant does not show that there is none: one of more than `LOW`,
    or of so few tasks that no order of them could be significant, is left open (``passed`` None).
    """
    found, p_value = float(spearman(value, bare)), 1.0
    passed: bool | None = True
    if not np.isfinite(found):
        found, said = 0.0, "on untrained weights there is no ranking"  # the same to all
    else:
        p_value, least = (
            qap_p(other, value, spearman, draws=DRAWS, seed=seed) for other in (bare, value)
        )
        verdict = "the ranking is not shown to be there before training"
        if p_value <= 0.05:
            passed, verdict = False, "some of the ranking is there before training"
        elif found > LOW or least > 0.05:
            passed, verdict = None, "whether some is there before training is left open"
        said = "rank correlation with the same on untrained weights: "
        said += f"{found:.2f} (p = {p_value:.3f}); {verdict}"
    control = {"value": found, "p_value": p_value, "passed": passed, "sentence": said}
    return {"random_weights": control}


def labels_randomized(graph: TaskGraph, shuffled: TaskGraph) -> dict[str, Control]:
    """How many pairs are significant when the labels are shuffled."""
    tested = np.isfinite(graph.p_adjusted).sum()
    count, before = int(shuffled.significant.sum()), int(graph.significant.sum())
    said = (
        f"with shuffled labels {count} of {tested} pairs are significant, with true ones {before}"
    )
    return {"random_labels": {"value": count, "passed": count == 0, "sentence": said}}


# -- what they compare with -------------------------------------------------------------------


def fresh(network: FusionNetwork, store: GraphStore, seed: int) -> FusionNetwork:
    """The network as it was before training, from a seed of its own."""
    with torch.random.fork_rng():
        seed_torch("fresh weights", seed)
        bare = network_for(store, network.config)
    bare.fit_statistics(store, store.rows("train"))
    return bare.to(next(network.parameters()).device).eval()


def with_shuffled_labels(store: GraphStore, rows: Tensor, seed: int) -> GraphStore:
    """The store with each task's labels permuted among those of `rows` that have one."""
    rng, changed = np.random.default_rng(seed), {}
    for task in store.schema.task_names:
        known = rows[store.mask(task)[rows]]
        target = store.target(task).clone()
        target[known] = target[known[torch.from_numpy(rng.permutation(len(known)))]]
        changed[f"y/{task}"] = target
    return GraphStore(store.meta, Overlay(store.tensors, changed), store.path)


def probes_of_weights(network: FusionNetwork, store: GraphStore, size: int, seed: int) -> Probes:
    """Probes of the network as it is, on some batches of training rows, with nothing known.

    Parameters
    ----------
    size
        Rows of a batch, as in training.
    seed
        Of the choice of rows.
    """
    rows = store.rows("train")
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    split, topology = split_parameters(network, store), topology_of(store)
    device, found = next(network.parameters()).device, []
    for chosen in rows.split(size)[:STEPS]:
        batch = make_batch(store, chosen, topology).to(device)
        found.append(probe_step(partial(_losses, network, batch), split, 0))
    return Probes.of(found)


def _losses(network: FusionNetwork, batch: GraphBatch) -> tuple[Tensor, Tensor]:
    """Loss of each task and how many labels it is over, ``[T]`` each."""
    return task_losses(network, network(batch), batch, batch.masks), batch.masks.sum(0).cpu()


def _comparable(value: np.ndarray) -> bool:
    """Whether any target has enough sources for a ranking."""
    return bool(np.isfinite(spearman(value, value)))
