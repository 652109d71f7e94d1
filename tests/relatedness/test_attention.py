import numpy as np
import pytest
import torch
from random_stores import make_network, make_store

from gnnfusion.errors import UsageError
from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.nn.network import RELATES
from gnnfusion.relatedness.estimators.attention import (
    estimate,
    estimate_attention_rollout,
    sample_attention,
    uniform_control,
)
from gnnfusion.training.evaluate import loss_table

TASKS = ("regression", "binary", "multiclass", "regression")


@pytest.fixture(scope="module")
def store():
    return make_store(("vector", "tokens"), TASKS, samples=30, derived={"t3": ("t0",)})


@pytest.mark.parametrize("fusion", ["gat", "gatv2"])
def test_each_task_pays_attention_1_in_all_to_the_others(store, fusion):
    weights = sample_attention(make_network(store, fusion=fusion), store, store.rows())
    assert weights.shape == (30, 2, 4, 4)
    np.testing.assert_allclose(weights.sum(2), 1, rtol=1e-5)  # over sources i, for each target j
    assert (weights[..., range(4), range(4)] == 0).all()
    assert (weights[..., ~np.eye(4, dtype=bool)] > 0).all()


def test_it_is_the_attention_of_the_layers(store):
    network = make_network(store)
    batch = make_batch(store, torch.tensor([7]), topology_of(store))
    with torch.no_grad():
        raw = network.fusion.attention(network.encode(batch), batch.edges, RELATES)
    found = sample_attention(network, store, torch.tensor([7]))[0]
    assert raw.shape == (2, 12, 2)  # layers, edges, heads
    for e, (i, j) in enumerate(batch.edges[RELATES].index.T.tolist()):
        np.testing.assert_allclose(found[:, i, j], raw[:, e].mean(1), rtol=1e-6)


def test_values_are_relative_to_uniform(store):
    network = make_network(store)
    graph = estimate(network, store, store.rows(), 0)
    raw = sample_attention(network, store, store.rows())
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(graph.value[off], 3 * raw.mean((0, 1))[off])
    assert graph.null == 1
    assert (graph.low[off] <= graph.value[off]).all()
    assert (graph.value[off] <= graph.high[off]).all()
    assert np.nansum(graph.value, 0) == pytest.approx([3.0] * 4)


def test_attention_below_uniform_is_no_sign_of_information(store):
    graph = estimate(make_network(store), store, store.rows(), 0)
    below, above = graph.value < 1, graph.value > 1
    assert below.any()
    assert (graph.p_value[below] > 0.5).all()
    assert (graph.p_value[above] < 0.5).all()
    assert not (graph.significant & below).any()
    assert (graph.significant & above).any()  # as the weights hardly differ between rows


def test_the_control_is_always_there(store):
    graph = estimate(make_network(store), store, store.rows(), 0)
    keys = {"what", "value", "low", "high", "p_value", "interpretable", "verdict"}
    assert set(graph.control) == keys
    assert graph.interpretable == (graph.control["low"] > 0)
    if not graph.interpretable:
        assert graph.control["verdict"] == "not interpretable"
        assert graph.edges() == []
    assert "uniform" in graph.control["what"]


def test_attention_that_is_uniform_anyway_is_not_interpretable(store):
    """A network whose attention cannot differ loses nothing by uniform attention."""
    network = make_network(store)
    with torch.no_grad():
        for layer in network.fusion.layers:
            layer.convs["task__relates__task"].conv.att.zero_()
    graph = estimate(network, store, store.rows(), 0)
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(graph.value[off], 1, rtol=1e-5)
    assert abs(graph.control["value"]) < 1e-5
    assert graph.control["verdict"] == "not interpretable"
    assert not graph.interpretable


def test_the_control_is_the_cost_of_uniform_attention(store):
    network = make_network(store)
    rows = store.rows()
    control = uniform_control(network, store, rows, 0)
    learned = loss_table(network, store, rows)
    with network.fusion.uniform_attention(RELATES):
        uniform = loss_table(network, store, rows)
    scale = np.nanmean(learned, axis=0)
    known = ~np.isnan(learned).all(1)
    a, b = (np.nanmean((x / scale)[known], axis=1) for x in (uniform, learned))
    assert control["value"] == pytest.approx((a - b).mean() / a.mean())


@pytest.mark.filterwarnings("error")
def test_two_tasks_have_attention_1_and_no_test():
    store = make_store(tasks=("regression", "binary"), samples=20)
    graph = estimate(make_network(store), store, store.rows(), 0)
    assert graph.value[0, 1] == pytest.approx(1)
    assert not graph.significant.any()


def test_derived_pairs_are_marked_and_never_findings(store):
    graph = estimate(make_network(store), store, store.rows(), 0)
    assert graph.derived[0, 3]
    assert graph.derived[3, 0]
    assert not graph.significant[0, 3]
    assert np.isnan(graph.p_adjusted[0, 3])


def test_networks_without_attention_between_tasks_are_said(store):
    with pytest.raises(UsageError, match="the fusion 'gcn' has no attention among tasks alone"):
        estimate(make_network(store, fusion="gcn"), store, store.rows(), 0)
    plain = make_store(("vector",), TASKS, topology=[{"informs": {"modality": "m0"}}])
    with pytest.raises(UsageError, match="the topology has no `relates`"):
        estimate(make_network(plain), plain, plain.rows(), 0)


def test_rollout_multiplies_the_layers(store):
    """What target j hears of i: from j to its sources at the last layer, and on to theirs."""
    network = make_network(store)
    graph = estimate_attention_rollout(network, store, store.rows(), 0)
    layers = sample_attention(network, store, store.rows())
    values = []
    for first, second in layers:
        mixed = [0.5 * a.T + 0.5 * np.eye(4) for a in (first, second)]  # rows: who listens
        heard = mixed[1] @ mixed[0]
        np.fill_diagonal(heard, 0)
        values.append((heard / heard.sum(1, keepdims=True)).T)
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(graph.value[off], 3 * np.mean(values, 0)[off])
    assert graph.method == "attention_rollout"
    assert graph.control["what"].startswith("loss of score")
