import numpy as np
import pytest
import torch
from random_stores import make_network, make_store
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.relatedness.estimators import linearized
from gnnfusion.relatedness.estimators.linearized import (
    _features,
    _trained,
    directions,
    estimate,
    gains,
    quadratic,
)
from gnnfusion.training.evaluate import loss_table, outputs
from gnnfusion.training.objective import task_losses

TASKS = ("regression", "binary", "multiclass", "ordinal")
SPLIT = np.array([0] * 40 + [1] * 20)


@pytest.fixture(scope="module")
def store():
    return make_store(("vector", "tokens"), TASKS, samples=60, split=SPLIT, missing=0.1,
                      unlabelled=0.2, derived={"t3": ("t1",)})  # fmt: skip


def test_directions_are_orthonormal_and_hold_every_tasks_gradient(store):
    network, rows = make_network(store), store.rows("train")
    basis = directions(network, store, rows)
    torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)), atol=1e-4, rtol=0)
    assert len(basis) <= 4
    weights = _trained(network)
    batch = make_batch(store, rows, topology_of(store))
    task_losses(network, network(batch), batch, batch.masks)[2].backward()
    gradient = torch.cat([
        (torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in weights
    ])  # fmt: skip
    within = basis.T @ (basis @ gradient)
    torch.testing.assert_close(within, gradient, atol=1e-3 * float(gradient.norm()), rtol=0)


def loss_of(network, store, rows):
    return np.nanmean(loss_table(network, store, rows), axis=0)


def test_near_the_weights_a_loss_is_the_quadratic(store):
    network, rows = make_network(store), store.rows("valid")
    basis = directions(network, store, store.rows("train"))
    slope, curve, loss = quadratic(network, store, rows, basis)
    np.testing.assert_allclose(loss, loss_of(network, store, rows), rtol=1e-5)
    weights = _trained(network)
    before = parameters_to_vector(weights).detach().clone()
    w = np.random.default_rng(0).normal(size=len(basis))
    errors = []
    for length in (0.06, 0.03):
        step = length * w / np.linalg.norm(w)
        with torch.no_grad():
            vector_to_parameters(before + torch.tensor(step, dtype=torch.float32) @ basis, weights)
        found = loss_of(network, store, rows)
        told = loss + slope @ step + 0.5 * np.einsum("tkl,k,l->t", curve, step, step)
        errors.append(np.abs(found - told) / np.abs(found - loss).max())
    vector_to_parameters(before, weights)
    assert errors[1].max() < 0.2
    assert errors[1].mean() < 0.8 * errors[0].mean()  # what is left out is of higher order


@pytest.mark.parametrize("fusion", ["gatv2", "sage"])
def test_derivatives_are_those_of_forward_mode(fusion):
    """Differences of outputs, against what automatic differentiation says of a direction.

    It knows no packed sequences, so there are no tokens here.
    """
    store = make_store(("vector", "bytes"), TASKS, samples=60, split=SPLIT, missing=0.1)
    network, rows = make_network(store, fusion=fusion), store.rows("train")
    basis = directions(network, store, rows)
    found = _features(network, basis, lambda: outputs(network, store, rows))
    batch = make_batch(store, rows, topology_of(store))
    weights = _trained(network)
    names = [n for n, p in network.named_parameters() if any(p is w for w in weights)]

    def forward(*values):
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), (batch,))

    for place, direction in enumerate(basis):
        sizes = [w.numel() for w in weights]
        step = [d.view_as(w) for d, w in zip(direction.split(sizes), weights, strict=True)]
        at = tuple(w.detach() for w in weights)
        with torch.no_grad():
            _, exact = torch.func.jvp(forward, at, tuple(step))
        for task, slope in exact.items():
            assert (found[task][place] - slope).norm() <= 0.005 * slope.norm()


def test_rows_may_come_in_any_number_of_batches(monkeypatch, store):
    network, rows = make_network(store), store.rows("train")
    basis = directions(network, store, rows)
    whole = quadratic(network, store, rows, basis)
    monkeypatch.setattr(linearized, "BATCH", 7)
    for one, many in zip(whole, quadratic(network, store, rows, basis), strict=True):
        np.testing.assert_allclose(many, one, rtol=1e-3, atol=1e-4 * np.nanmax(np.abs(one)))


def test_measuring_leaves_the_weights_as_they_were(store):
    network = make_network(store)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    estimate(network, store, store.rows("valid"), 0)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_tasks_that_share_nothing_gain_nothing_of_each_other(store):
    """A network a task: what one does is nothing to another, in a group of any size."""
    network = make_network(store, sharing="single")
    members = np.array([[1, 0, 0, 1], [1, 1, 1, 0], [1, 1, 1, 1]], dtype=bool)
    found = gains(network, store, store.rows("valid"), members)
    np.testing.assert_allclose(found[members], 0, atol=1e-6)
    together = gains(make_network(store), store, store.rows("valid"), members)
    assert np.nanmax(np.abs(together)) > 1e-4


def test_a_group_of_one_gains_nothing_and_outsiders_have_no_value(store):
    members = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]], dtype=bool)
    found = gains(make_network(store), store, store.rows("valid"), members)
    assert found[0, 0] == pytest.approx(0, abs=1e-12)
    assert (np.isfinite(found) == members).all()


def test_the_graph_holds_the_gains_of_pairs(store):
    network = make_network(store)
    graph = estimate(network, store, store.rows("valid"), 0)
    members = np.array([[1, 0, 1, 0]], dtype=bool)
    found = gains(network, store, store.rows("valid"), members)
    assert graph.value[0, 2] == pytest.approx(found[0, 2])
    assert graph.value[2, 0] == pytest.approx(found[0, 0])
    assert np.isnan(graph.value[1, 3])
    assert graph.n[0, 2] == store.masks[store.rows("valid")][:, 2].sum()


def test_a_task_without_labels_gives_and_has_no_gain(store):
    """Of a source without labels nothing is known; 0 would rank it before those that do harm."""
    from gnnfusion.graphs.store import GraphStore

    tensors = dict(store.tensors)
    tensors["mask/t0"] = torch.zeros(60, dtype=torch.uint8)
    none = GraphStore(store.meta, tensors)
    graph = estimate(make_network(none), none, none.rows("valid"), 0)
    assert np.isnan(graph.value[:, 0]).all()
    assert np.isnan(graph.value[0]).all()
    assert np.isfinite(graph.value[1, 2])
    members = np.array([[1, 1, 1, 0], [0, 1, 1, 0]], dtype=bool)
    found = gains(make_network(none), none, none.rows("valid"), members)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1, 1:3]).all()
