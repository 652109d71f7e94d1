"""Training on some of the tasks: what else there is changes nothing."""

import pytest
import torch
from small_runs import small_config, small_store

from gnnfusion.errors import DataError, UsageError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import network_for
from gnnfusion.training.fit import fit
from gnnfusion.training.seeding import derived_seed


@pytest.fixture(scope="module")
def store():
    return small_store()


def weights(store, tasks=None, **settings):
    return fit(store, small_config(**settings), None, tasks=tasks)[0].state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_on_each_task_is_training_on_all(store):
    assert same(weights(store, epochs=1), weights(store, ("t0", "t1", "t2"), epochs=1))


def test_the_labels_of_other_tasks_change_no_bit(store):
    other = {"y/t0": 3 + store.target("t0") * 2, "y/t2": store.target("t2").flip(0)}
    changed = GraphStore(store.meta, {**store.tensors, **other})
    settings = {"epochs": 2, "refit": True}
    assert same(weights(store, ("t1",), **settings), weights(changed, ("t1",), **settings))
    assert not same(weights(store, ("t0",), **settings), weights(changed, ("t0",), **settings))


def test_the_heads_of_other_tasks_stay_as_a_training_on_all_begins(store):
    """So compared trainings begin alike; what has no labels decays with the rest, unless told."""
    config = small_config(epochs=2, weight_decay=0.0)
    torch.manual_seed(derived_seed("weights", config.seed))
    began, found = (
        network_for(store, config.network).state_dict(),
        weights(store, ("t1",), epochs=2, weight_decay=0.0),
    )
    for name in began:
        if name.startswith(("heads.t0", "heads.t2")):
            assert torch.equal(began[name], found[name]), name
    assert not torch.equal(began["heads.t1.net.0.weight"], found["heads.t1.net.0.weight"])


def test_training_stops_by_the_tasks_that_it_is_on(store):
    row = fit(store, small_config(epochs=2), None, tasks=("t0", "t2"))[1].history[-1]
    assert row["valid_t1"] != row["valid_t1"]  # NaN
    assert row["valid_t0"] == row["valid_t0"]
    assert row["valid_score"] == row["valid_score"]


def test_tasks_without_labels_do_not_hinder_the_others(store):
    gone = torch.zeros(len(store), dtype=torch.uint8)
    store = GraphStore(store.meta, {**store.tensors, "mask/t1": gone})
    fit(store, small_config(epochs=1), None, tasks=("t0",))
    with pytest.raises(DataError, match="task 't1' has no label in the split 'train'"):
        fit(store, small_config(epochs=1), None, tasks=("t0", "t1"))
    with pytest.raises(UsageError, match="there is no task 't9'"):
        fit(store, small_config(epochs=1), None, tasks=("t9",))
