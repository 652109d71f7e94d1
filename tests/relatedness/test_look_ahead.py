import numpy as np
import pytest
import torch
from small_runs import small_config, small_store

from gnnfusion.relatedness.estimators.look_ahead import (
    estimate,
    estimate_first_order,
    first_order,
    look_ahead,
)
from gnnfusion.training import probes as probing
from gnnfusion.training.fit import fit
from gnnfusion.training.probes import Probes


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


def test_the_scale_of_a_loss_changes_nothing():
    """Scaling loss i scales its gradient, and nothing of the affinities."""
    rng = np.random.default_rng(0)
    vectors, loss = rng.normal(size=(3, 3, 5)), rng.random((3, 3)) + 1

    def values(scale):
        scaled = vectors * scale[:, None]
        gramian = torch.tensor(np.einsum("pid,pjd->pij", scaled, scaled))
        length = torch.ones(3, dtype=torch.float64)
        losses = torch.tensor(loss * scale)
        ahead = (
            losses[:, None]
            - length[:, None, None]
            * gramian
            / torch.tensor(np.linalg.norm(scaled, axis=2))[..., None]
        )
        return Probes(torch.arange(3), length, losses, gramian, ahead)

    plain, scaled = values(np.ones(3)), values(np.array([1.0, 7.0, 0.2]))
    np.testing.assert_allclose(first_order(plain), first_order(scaled))
    np.testing.assert_allclose(look_ahead(plain), look_ahead(scaled))


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


def test_few_steps_have_no_interval(store):
    found = probed(store)
    few = Probes(*(each[:4] for each in vars(found).values()))
    graph = estimate(few, store.schema, 0)
    assert np.isfinite(graph.value[0, 1])
    assert np.isnan(graph.low).all()
    assert np.isnan(graph.high).all()
    assert graph.intervals == {}
