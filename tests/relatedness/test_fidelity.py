import numpy as np
import pytest
import torch
from random_stores import make_network, make_store

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.relatedness.estimators.ablation import cut, cut_pairs
from gnnfusion.relatedness.fidelity import _as_many, fidelity
from gnnfusion.training.evaluate import loss_table, losses_of, outputs

TASKS = ("regression", "binary", "multiclass", "regression")
OFF = ~np.eye(4, dtype=bool)


@pytest.fixture(scope="module")
def store():
    return make_store(("vector", "tokens"), TASKS, samples=30)


def pairs(*kept):
    found = np.zeros((4, 4), bool)
    for pair in kept:
        found[pair] = True
    return found


def test_several_pairs_are_cut_as_one_after_the_other(store):
    network = make_network(store)
    batch = make_batch(store, torch.arange(10), topology_of(store))
    with torch.no_grad():
        with cut_pairs(network, pairs((0, 1), (2, 3))):
            found = network(batch)
        with cut(network, 0, 1), cut(network, 2, 3):
            expected = network(batch)
    for task in batch.tasks:
        assert torch.equal(found[task], expected[task])


def test_necessity_is_the_rise_without_the_kept_and_sufficiency_with_them_alone(store):
    network, rows = make_network(store), store.rows()
    rows = rows[store.masks[rows].any(1)]
    kept = pairs((0, 1), (1, 0), (2, 3))
    found = fidelity(network, store, rows, kept, 0)
    before = loss_table(network, store, rows)
    for name, gone in (("necessity", kept), ("sufficiency", ~kept & OFF)):
        with cut_pairs(network, gone):
            after = loss_table(network, store, rows)
        scale = np.nanmean(before, axis=0)
        a, b = (np.nanmean(x / scale, axis=1).mean() for x in (after, before))
        assert found[name]["value"] == pytest.approx(a / b - 1, rel=1e-6)
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
        assert found[name]["sentence"].count("%") == 2


def test_all_edges_are_enough_and_what_they_carry_is_what_is_told(store):
    network, rows = make_network(store), store.rows()
    for told in (False, True):
        found = fidelity(network, store, rows, OFF, 0, told=told)
        assert found["sufficiency"]["value"] == found["sufficiency"]["random"] == 0
        # As many at random into each task are all of them, too.
        assert found["necessity"]["random"] == pytest.approx(found["necessity"]["value"])
        assert ("told" in found["necessity"]["sentence"]) == told
    plain = fidelity(network, store, rows, OFF, 0)["necessity"]["value"]
    assert found["necessity"]["value"] != plain


def test_pairs_at_random_are_as_many_into_each_target():
    kept = pairs((0, 1), (2, 1), (3, 1), (0, 2))
    drawn = [_as_many(kept, np.random.default_rng(seed)) for seed in range(20)]
    for found in drawn:
        np.testing.assert_array_equal(found.sum(0), kept.sum(0))
        assert not found.diagonal().any()
    assert len({found.tobytes() for found in drawn}) == 3  # the one source of t2


def test_where_nothing_is_kept_or_no_message_goes_there_is_none(store):
    rows = store.rows()
    assert fidelity(make_network(store), store, rows, pairs(), 0) == {}
    deaf = make_network(store, fusion="transformer")
    assert fidelity(deaf, store, rows, pairs((0, 1)), 0) == {}
    apart = make_store(("vector",), TASKS, topology=[{"informs": {"modality": "m0"}}])
    assert fidelity(make_network(apart), apart, apart.rows(), pairs((0, 1)), 0) == {}


def test_losses_of_outputs_are_those_of_the_table(store):
    network, rows = make_network(store), store.rows()
    table = loss_table(network, store, rows)
    np.testing.assert_array_equal(
        losses_of(network, store, rows, outputs(network, store, rows)), table
    )
