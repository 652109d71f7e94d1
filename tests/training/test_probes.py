"""Measuring a training must not change it, and must measure what it says."""

import numpy as np
import pytest
import torch
from small_runs import small_config, small_store
from torch import nn

from gnnfusion.training.balancing.balancer import Split
from gnnfusion.training.fit import fit, train
from gnnfusion.training.probes import FILE, STEP, Probes, probe_interval, probe_step


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("probes") / "store")


def test_a_probed_training_is_the_training(store):
    plain, _ = fit(store, small_config(), None)
    probed, keeper = fit(store, small_config(log_interference=1), None)
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, probed.state_dict()[name]), name
    assert len(keeper.probes) == 15  # every step


def test_a_step_of_the_stated_length_is_taken_and_taken_back():
    """Losses a.x and |x - c|^2 / 2, whose gradients are known."""
    x = nn.Parameter(torch.tensor([1.0, 2.0]))
    a, c = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 1.0])

    def measure():
        return torch.stack([a @ x, (x - c).square().sum() / 2, x.sum() * 0]), torch.tensor(
            [2, 1, 0]
        )

    found = probe_step(measure, Split([x]), 4)
    assert torch.equal(x, torch.tensor([1.0, 2.0]))
    losses = [11.0, 1.0]
    gradients = [a, x.detach() - c]
    sizes = [5.0, 2.0**0.5]
    length = STEP * min(11 / 5, 1 / 2**0.5)  # the lower median of two
    assert float(found["length"]) == pytest.approx(length)
    np.testing.assert_allclose(found["loss"], [*losses, np.nan], rtol=1e-6)
    assert found["gramian"][0, 1] == pytest.approx(float(gradients[0] @ gradients[1]))
    moved = x.detach() - length * gradients[1] / sizes[1]
    assert found["ahead"][1, 0] == pytest.approx(float(a @ moved), rel=1e-6)
    assert torch.isnan(found["ahead"][2]).all()
    assert torch.isnan(found["ahead"][:, 2]).all()


def test_probes_lie_in_the_run_folder(store, tmp_path):
    run = train(store, tmp_path / "run", small_config(log_interference=4), logs=False)
    found = Probes.load(run.path / FILE)
    assert len(found) == 4
    assert found.epoch.tolist() == [0, 0, 1, 2]
    assert found.gramian.shape == (4, 3, 3)
    assert run.interference


def test_probing_costs_at_most_its_share():
    for tasks in (2, 5, 10, 40):
        assert (3 * tasks + 1) / 3 / probe_interval(tasks) <= 0.2
