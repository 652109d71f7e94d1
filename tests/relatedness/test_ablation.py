from dataclasses import replace

import numpy as np
import pytest
import torch
from random_stores import make_network, make_store

from gnnfusion.errors import UsageError
from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.topology import Edges
from gnnfusion.nn.network import RELATES
from gnnfusion.relatedness.estimators.ablation import cut, estimate, estimate_ablation_total
from gnnfusion.training.evaluate import loss_table

TASKS = ("regression", "binary", "multiclass", "regression")


@pytest.fixture(scope="module")
def store():
    return make_store(("vector", "tokens"), TASKS, samples=30, derived={"t3": ("t0",)})


def test_cutting_is_leaving_the_edges_out(store):
    network = make_network(store)
    batch = make_batch(store, torch.arange(10), topology_of(store))
    index = batch.edges[RELATES].index
    kept = ~((index[0] % 4 == 2) & (index[1] % 4 == 1))
    edges = {**batch.edges, RELATES: Edges(index[:, kept])}
    with torch.no_grad():
        whole, expected = network(batch), network(replace(batch, edges=edges))
        with cut(network, 2, 1):
            found = network(batch)
        again = network(batch)
    assert not torch.equal(found["t1"], whole["t1"])
    for task in batch.tasks:
        assert torch.equal(found[task], expected[task])
        assert torch.equal(again[task], whole[task])


def test_values_are_the_rise_of_the_loss(store):
    network, rows = make_network(store), store.rows()
    graph = estimate(network, store, rows, 0)
    before = loss_table(network, store, rows)[:, 1]
    with cut(network, 2, 1):
        after = loss_table(network, store, rows)[:, 1]
    known = np.isfinite(before)
    expected = (after[known].mean() - before[known].mean()) / before[known].mean()
    assert graph.value[2, 1] == pytest.approx(expected, rel=1e-6)
    assert graph.low[2, 1] <= graph.value[2, 1] <= graph.high[2, 1]
    assert np.isnan(graph.value[0, 3])


def test_an_edge_that_is_not_there_is_worth_exactly_nothing():
    alone = make_store(("vector",), TASKS, samples=30, topology=[{"informs": {"modality": "m0"}}])
    for estimator in (estimate, estimate_ablation_total):
        graph = estimator(make_network(alone), alone, alone.rows(), 0)
        off = ~np.eye(4, dtype=bool)
        assert (graph.value[off] == 0).all()
        assert (graph.low[off] == 0).all()


@pytest.mark.parametrize("estimator", [estimate, estimate_ablation_total])
def test_a_control_has_intervals_and_no_test(store, estimator):
    graph = estimator(make_network(store), store, store.rows(), 0)
    known = np.isfinite(graph.value)
    assert known.any()
    assert np.isfinite(graph.low[known]).all()
    assert not graph.tested
    assert graph.edges() == []


def test_cut_off_on_every_path_a_task_node_changes_nothing(store):
    """With three layers i reaches j through others, too: cutting one edge is not enough."""
    network = make_network(store, layers=3)
    batch = make_batch(store, torch.arange(10), topology_of(store))

    def other(task):
        return network.task_embedding[f"t{task}"].data.add_(1.0)

    with torch.no_grad(), cut(network, 2):
        before = network(batch)
        other(2)
        after = network(batch)
    for task in ("t0", "t1", "t3"):
        assert torch.equal(before[task], after[task])
    assert not torch.equal(before["t2"], after["t2"])
    with torch.no_grad(), cut(network, 2, 1):
        before = network(batch)
        other(2)
        assert not torch.equal(before["t1"], network(batch)["t1"])


def test_networks_without_edges_between_tasks_are_refused(store):
    network = make_network(store, fusion="transformer")
    with pytest.raises(UsageError, match="passes no messages along edges between tasks"):
        estimate(network, store, store.rows(), 0)
