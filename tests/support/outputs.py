"""Outputs of a network on chosen rows, and the same network or store with something changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy

import torch
from random_stores import make_store
from torch import Tensor

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.schema import Task
from gnnfusion.training.evidence import draw_shown, kin_matrix


def run(network: FusionNetwork, store: GraphStore, rows, shown: Tensor | None = None):
    """Outputs per task on the rows, in that order."""
    rows = torch.as_tensor(rows, dtype=torch.long)
    with torch.no_grad():
        visible = None if shown is None else shown[rows]
        return network(make_batch(store, rows, topology_of(store)), visible)


def labels_for(network: FusionNetwork, store: GraphStore, seed: int) -> Tensor | None:
    """Some labels to show, where the network can read any."""
    if not network.reads_labels:
        return None
    draw = torch.Generator().manual_seed(seed)
    return draw_shown(store.masks, kin_matrix(store.schema), 0.7, draw)


def belongs(parameter: str, modality: str) -> bool:
    """Whether a parameter is the modality's: of its encoder, its slots, its relations."""
    return any(modality in part.split("__") for part in parameter.split("."))


def perturbed(network: FusionNetwork, modalities: Iterable[str]) -> FusionNetwork:
    """The network with other weights in all that belongs to these modalities."""
    other, names = deepcopy(network), tuple(modalities)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if any(belongs(name, m) for m in names):
                parameter.add_(torch.randn_like(parameter) * 7)
    return other


def assert_absent_is_untouched(network: FusionNetwork, store: GraphStore, most: int) -> None:
    """Weights of modalities that a sample lacks may be anything: not a bit of it changes."""
    for row in range(min(len(store), most)):
        batch = make_batch(store, torch.tensor([row]), topology_of(store))
        absent = [m for m in store.schema.modality_names if len(batch.nodes[m].x) == 0]
        after = run(perturbed(network, absent), store, [row])
        for task, before in run(network, store, [row]).items():
            assert torch.equal(before, after[task])


def assert_matters_where_it_is(network: FusionNetwork, store: GraphStore, modality: str) -> None:
    """In one batch, a modality's weights change the samples that have it, and no bit of others."""
    lacks = store.nodes(modality).ptr.diff() == 0
    before = run(network, store, range(len(store)))
    after = run(perturbed(network, [modality]), store, range(len(store)))
    for task in before:
        assert torch.equal(before[task][lacks], after[task][lacks])
        assert (before[task] != after[task]).any(1)[~lacks].all()


def with_tasks(store: GraphStore, tasks: Iterable[Task]) -> GraphStore:
    """The store with these of its tasks, in this order."""
    meta = {**store.meta, "schema": store.schema.with_tasks(tuple(tasks)).to_dict()}
    return GraphStore(meta, store.tensors)


def fully_wired(rules: Sequence[str] = ("informs", "asks")) -> GraphStore:
    """30 samples in which everything that can be learned is: no attention is over a single edge
    (where it is 1 whatever the weights), and the sample with nothing has all labels."""
    names = ("m0", "m1", "m2")
    wiring = [{"full": {"source": a, "target": b}} for a in names for b in names]
    wiring += [{rule: {"modality": m}} for rule in rules for m in names]
    store = make_store(samples=30, missing=0.2, topology=[*wiring, {"relates": {}}])
    masks = {}
    for task in store.schema.task_names:
        masks[f"mask/{task}"] = store.tensors[f"mask/{task}"].clone()
        masks[f"mask/{task}"][0] = True
    return GraphStore(store.meta, {**store.tensors, **masks})
