import numpy as np
import pytest
import torch
from random_stores import make_network, make_store

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.ownership import task_parameters
from gnnfusion.relatedness.estimators import gradient
from gnnfusion.relatedness.estimators.gradient import cosines, estimate
from gnnfusion.relatedness.intervals import mean_interval
from gnnfusion.training.objective import task_losses

TASKS = ("regression", "binary", "multiclass")


@pytest.fixture(scope="module")
def store():
    return make_store(("vector", "tokens"), TASKS, samples=80, derived={"t2": ("t0",)})


def test_it_is_the_cosine_of_gradients_by_brute_force(store):
    network, rows = make_network(store), torch.arange(5, 30)
    mine = {n for names in task_parameters(network, store).values() for n in names}
    batch = make_batch(store, rows, topology_of(store))
    vectors = []
    for task in range(3):
        network.zero_grad()
        task_losses(network, network(batch), batch, batch.masks)[task].backward()
        vectors.append(torch.cat([
            (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
            for n, p in network.named_parameters() if n not in mine
        ]))  # fmt: skip
    network.zero_grad()
    stacked = torch.nn.functional.normalize(torch.stack(vectors), dim=1)
    expected = (stacked @ stacked.T).numpy()
    np.testing.assert_allclose(cosines(network, store, rows)[0], expected, atol=1e-5)


def test_the_value_is_the_mean_over_batches(store, monkeypatch):
    network = make_network(store)
    monkeypatch.setattr(gradient, "SIZE", 16)
    graph = estimate(network, store, store.rows(), 3)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(3))
    each = np.abs(cosines(network, store, store.rows()[order]))
    assert len(each) == 5
    assert graph.value[0, 1] == pytest.approx(each[:, 0, 1].mean())
    assert graph.n[0, 1] == 5
    low, high = mean_interval(each[:, 0, 1])
    assert (graph.low[0, 1], graph.high[0, 1]) == pytest.approx((low, high))
    assert np.isnan(graph.value[0, 2])  # derived
    assert np.isnan(graph.p_value).all()
    assert graph.ranks_only


def test_the_scale_of_a_loss_changes_nothing(store, monkeypatch):
    network, rows = make_network(store), store.rows()
    before, values = cosines(network, store, rows), estimate(network, store, rows, 0).value
    monkeypatch.setattr(
        gradient, "task_losses", lambda *a: task_losses(*a) * torch.tensor([1.0, 7.0, 1.0])
    )
    after = cosines(network, store, rows)
    assert np.isfinite(before[:, 0, 1]).any()
    np.testing.assert_allclose(after, before, atol=1e-5)
    np.testing.assert_allclose(estimate(network, store, rows, 0).value, values, atol=1e-5)


def test_the_scale_of_a_target_changes_nothing(store):
    """Targets are standardized."""
    network = make_network(store)
    rows = store.rows()
    before = estimate(network, store, rows, 0).value
    tensors = dict(store.tensors)
    tensors["y/t0"] = 10 * tensors["y/t0"]
    scaled = GraphStore(store.meta, tensors)
    head = network.head("t0")
    head.mean.mul_(10)
    head.std.mul_(10)
    np.testing.assert_allclose(estimate(network, scaled, rows, 0).value, before, atol=1e-5)


def test_tasks_that_are_never_labelled_together_are_compared(store):
    tensors = dict(store.tensors)
    half = torch.arange(80) % 2
    tensors["mask/t0"], tensors["mask/t1"] = half.byte(), (1 - half).byte()
    apart = GraphStore(store.meta, tensors)
    graph = estimate(make_network(apart), apart, apart.rows(), 0)
    assert 0 <= graph.value[0, 1] <= 1


def test_a_task_without_labels_has_no_value(store):
    tensors = dict(store.tensors)
    tensors["mask/t1"] = torch.zeros(80, dtype=torch.uint8)
    none = GraphStore(store.meta, tensors)
    graph = estimate(make_network(none), none, none.rows(), 0)
    assert np.isnan(graph.value[0, 1])
    assert graph.n[0, 1] == 0
