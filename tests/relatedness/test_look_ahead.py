import numpy as np
import pytest
import torch
from random_stores import make_network
from small_runs import small_config, small_store

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.relatedness.estimators.look_ahead import (
    estimate,
    estimate_first_order,
    first_order,
    look_ahead,
)
from gnnfusion.training import probes as probing
from gnnfusion.training.balancing.balancer import split_parameters
from gnnfusion.training.fit import fit
from gnnfusion.training.objective import task_losses
from gnnfusion.training.probes import Probes, probe_step


@pytest.fixture(scope="module")
def store():
    return small_store(derived={"t2": ("t0",)})


def probed(store, **changes):
    _, keeper = fit(store, small_config(log_interference=2, **changes), None)
    return Probes.of(keeper.probes)


def test_look_ahead_tends_to_first_order_as_the_step_goes_to_0(store, monkeypatch):
    """Both shrink with the step and their gap with its square: a tenth of the step, a tenth of the
    gap in proportion, up to the precision of the losses."""
    gaps = []
    for step in (0.01, 0.001):
        monkeypatch.setattr(probing, "STEP", step)
        found = probed(store, epochs=1)
        a, b = look_ahead(found), first_order(found)
        assert np.isfinite(a).sum() > 10
        gaps.append(np.nanmean(np.abs(a - b)) / np.nanmean(np.abs(b)))
    assert gaps[1] < 0.2 * gaps[0]
    assert gaps[1] < 0.02


def test_own_gain_is_the_step_times_the_size_of_the_gradient(store):
    found = probed(store, epochs=1)
    own = np.diagonal(first_order(found), axis1=1, axis2=2)
    size = np.sqrt(np.diagonal(found.gramian.numpy(), axis1=1, axis2=2))
    expected = found.length.numpy()[:, None] * size / found.loss.numpy()
    np.testing.assert_allclose(own, expected, rtol=1e-6)
    # At least two of three tasks are there, so the median of what they expect is the step.
    np.testing.assert_allclose(np.nanmedian(1 / own, axis=1), 1 / probing.STEP, rtol=0.6)


@pytest.mark.parametrize("task", [0, 1])
def test_the_scale_of_a_loss_changes_nothing(store, task):
    """Neither its gradient's length, which sets no step, nor its own, of which gains are shares."""
    network = make_network(store)
    batch = make_batch(store, store.rows("train"), topology_of(store))
    split = split_parameters(network, store)

    def values(scale):
        def measure():
            losses = task_losses(network, network(batch), batch, batch.masks) * scale
            return losses, batch.masks.sum(0)

        found = Probes.of([probe_step(measure, split, 0)])
        return found, look_ahead(found), first_order(found)

    scale = torch.ones(3)
    plain, *before = values(scale)
    scale[task] = 7
    scaled, *after = values(scale)
    np.testing.assert_allclose(scaled.loss[0], plain.loss[0] * scale, rtol=1e-5)
    for a, b in zip(before, after, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)


def test_graphs_are_means_over_steps_with_both(store):
    found = probed(store)
    graph = estimate(found, store.schema, 0)
    values = look_ahead(found)[:, 0, 1]
    assert graph.n[0, 1] == np.isfinite(values).sum()
    assert graph.value[0, 1] == pytest.approx(np.nanmean(values))
    assert graph.low[0, 1] <= graph.value[0, 1] <= graph.high[0, 1]
    assert np.isnan(graph.value[0, 2])
    assert graph.question == "training with i helps j"
    assert estimate_first_order(found, store.schema, 0).method == "first_order"
    assert list(graph.intervals) == ["over the training's steps"]


def test_a_step_without_loss_is_left_out(store):
    """Nothing is a share of 0; one such step would make all values of its target infinite."""
    found = probed(store)
    found.loss[0, 1] = 0
    for make in (estimate, estimate_first_order):
        graph = make(found, store.schema, 0)
        assert np.isfinite(graph.value[0, 1])
        assert np.isfinite(graph.low[0, 1])
        assert graph.n[0, 1] < graph.n[1, 0] + 2
    assert estimate(found, store.schema, 0).n[0, 1] == np.isfinite(look_ahead(found)[:, 0, 1]).sum()


def test_few_steps_have_no_interval(store):
    found = probed(store)
    few = Probes(*(each[:4] for each in vars(found).values()))
    graph = estimate(few, store.schema, 0)
    assert np.isfinite(graph.value[0, 1])
    assert np.isnan(graph.low).all()
    assert np.isnan(graph.high).all()
    assert graph.intervals == {}
