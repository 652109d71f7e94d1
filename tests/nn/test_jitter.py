"""Random changes of signals: what each leaves as it was, and that evaluation sees none."""

import pytest
import torch

from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.topology import NodeLayout
from gnnfusion.nn.encoders.jitter import Jitter, rotated, scaled_and_noisy, warped
from gnnfusion.nn.encoders.window import WindowEncoder, make


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_nothing_is_nothing():
    x = torch.randn(4, 6, 20)
    assert rotated(x, 0.0) is x
    assert warped(x, 0.0) is x
    assert scaled_and_noisy(x, 0.0, 0.0) is x


def test_a_rotation_keeps_lengths_and_angles_and_is_one_per_window():
    x = torch.randn(5, 6, 7)
    y = rotated(x, 0.7)

    def products(z):
        vectors = z.unflatten(1, (2, 3)).permute(0, 1, 3, 2).flatten(1, 2)
        return vectors @ vectors.transpose(1, 2)

    torch.testing.assert_close(products(y), products(x), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(y, x, atol=0.1)


def test_a_warp_of_a_straight_line_is_its_time_axis():
    """Read at tau, the line f(t) = t is tau, cut to the window's ends."""
    time = torch.linspace(-1, 1, 33)
    y = warped(time.expand(200, 1, 33).clone(), 0.2)[:, 0]
    assert (y.abs() <= 1 + 1e-6).all()
    assert (y.diff(dim=1) >= -1e-6).all()  # for such a small bend, time never runs backwards
    middle = y[:, 16]  # tau(0) is the shift
    assert (middle.abs() <= 0.2 + 1e-6).all()
    assert middle.std() == pytest.approx(0.2 / 3**0.5, rel=0.2)


def test_factors_and_noise_have_the_spread_asked_for():
    x = torch.ones(2000, 2, 8)
    factor = scaled_and_noisy(x, 0.1, 0.0)
    torch.testing.assert_close(factor, factor[:, :, :1].expand_as(factor))
    assert factor[:, :, 0].log().std() == pytest.approx(0.1, rel=0.1)
    assert (scaled_and_noisy(x, 0.0, 0.3) - x).std() == pytest.approx(0.3, rel=0.05)


def test_only_training_sees_jitter():
    encoder = WindowEncoder(3, 8, 0.0, warp=0.2, rotate=0.2, scale=0.1, noise=0.1)
    nodes = NodeLayout(
        torch.randn(4, 3, 32), torch.zeros(4, 0), torch.arange(5), NodeSpec((3, 32), "float32", ())
    )
    assert not torch.equal(encoder(nodes), encoder(nodes))
    encoder.eval()
    assert torch.equal(encoder(nodes), encoder(nodes))


def test_settings_that_cannot_be_are_said():
    with pytest.raises(ValueError, match="must not be negative"):
        Jitter(warp=-0.1)
    with pytest.raises(ValueError, match="three by three, and there are 4"):
        WindowEncoder(4, 8, 0.0, rotate=0.1)


def test_standardized_axes_are_not_rotated():
    """Scaled apart, the axes of a vector no longer turn into each other."""
    spec, state = NodeSpec((3, 16), "float32", ("time",)), {"mean": [0, 0, 0], "std": [1, 2, 3]}
    with pytest.raises(ValueError, match="give it standardize: false"):
        make(spec, state, 8, 0.0, rotate=0.1)
    make(spec, {}, 8, 0.0, rotate=0.1)
    make(spec, state, 8, 0.0, warp=0.1)
