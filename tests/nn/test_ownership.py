"""Which parameters are one task's own follows from the network, not from names."""

import pytest
import torch
from random_stores import make_network, make_store

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.nn.fusion import FUSIONS
from gnnfusion.nn.ownership import task_parameters
from gnnfusion.nn.sharing import SHARINGS

PARTS = [
    *({"fusion": fusion} for fusion in FUSIONS),
    *({"fusion": "concat", "sharing": sharing} for sharing in SHARINGS if sharing != "task_nodes"),
]


@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: "-".join(parts.values()))
def test_a_tasks_own_parameters_change_that_task_alone(parts):
    store = make_store(samples=20, missing=0.3)
    network = make_network(store, **parts)
    batch = make_batch(store, store.rows(), topology_of(store))
    found = task_parameters(network, store)
    named = dict(network.named_parameters())
    with torch.no_grad():
        before = network(batch)
    for task, names in found.items():
        assert {n for n in names if "heads." in n} == {n for n in named if f"heads.{task}." in n}
        kept = {n: named[n].detach().clone() for n in names}
        with torch.no_grad():
            for n in names:
                named[n].add_(1)
            after = network(batch)
            for n in names:
                named[n].copy_(kept[n])
        for other in found:
            assert torch.equal(before[other], after[other]) == (other != task)


def test_what_other_tasks_read_is_shared():
    """Task and label embeddings reach other tasks' nodes."""
    network = make_network(store := make_store(samples=20), fusion="gatv2")
    own = {name for names in task_parameters(network, store).values() for name in names}
    assert own == {name for name, _ in network.named_parameters() if name.startswith("heads")}


def test_networks_with_nothing_in_common_share_nothing():
    network = make_network(store := make_store(samples=20), fusion="concat", sharing="single")
    found = task_parameters(network, store)
    own = {name for names in found.values() for name in names}
    assert own == {name for name, _ in network.named_parameters()}


def test_frozen_parameters_are_nobodys():
    network = make_network(store := make_store(samples=20))
    for parameter in network.head("t1").parameters():
        parameter.requires_grad_(False)
    assert task_parameters(network, store)["t1"] == []


def test_late_fusion_has_weights_of_each_task_besides_its_head():
    network = make_network(store := make_store(samples=20), fusion="late")
    found = task_parameters(network, store)
    for task, names in found.items():
        assert [n for n in names if not n.startswith("heads")] == [f"fusion.scores.{task}"]


def test_the_network_is_left_as_it_was():
    network = make_network(store := make_store(samples=20)).train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    task_parameters(network, store)
    assert network.training
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
