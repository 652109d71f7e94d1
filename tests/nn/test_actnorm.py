"""Activation normalization: its start on training rows, and that it is constant afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gnnfusion.nn.encoders.actnorm import FIT_NODES, ActNorm, evenly, fit_through


@pytest.mark.parametrize("shape", [(40, 3), (40, 3, 7), (40, 3, 5, 4)])
def test_fitted_channels_have_mean_0_and_spread_1(shape):
    x = 3 + 5 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    norm = ActNorm(3)
    norm.fit(x)
    channels = norm(x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(channels.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(channels.std(1, correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_it_equals_batch_normalization_on_the_fitted_rows_and_nowhere_sees_them_again():
    x, other = torch.randn(2, 30, 4, 6, generator=torch.Generator().manual_seed(0))
    norm, reference = ActNorm(4), nn.BatchNorm1d(4, eps=1e-9)
    norm.fit(x)
    torch.testing.assert_close(norm(x), reference(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(norm(other)[:1], norm(other[:1]))


def test_a_dead_channel_stays_as_it_is():
    norm = ActNorm(2)
    norm.fit(torch.stack([torch.full((9,), 7.0), torch.arange(9.0)], 1))
    assert norm.scale[0] == 1
    assert norm(torch.tensor([[7.0, 0.0]]))[0, 0] == 0


def test_a_stack_is_fitted_from_its_first_layer_on():
    """Each layer is fitted to what the fitted ones before it give, with dropout off."""
    torch.manual_seed(0)
    blocks = nn.Sequential(
        nn.Conv1d(2, 5, 3), ActNorm(5), nn.GELU(), nn.Dropout1d(0.5), nn.Conv1d(5, 4, 3), ActNorm(4)
    )
    x = torch.randn(64, 2, 12)
    state = torch.random.get_rng_state()
    fit_through(blocks, x)
    assert torch.equal(torch.random.get_rng_state(), state)  # no dropout mask was drawn
    assert blocks.training
    out = blocks.eval()(x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(out.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(1, correction=0), torch.ones(4), atol=1e-5, rtol=0)


def test_many_nodes_are_thinned_evenly_and_none_are_no_trouble():
    x = torch.arange(3 * FIT_NODES)
    some = evenly(x)
    assert len(some) == FIT_NODES
    assert some[0] == 0
    assert some[-1] == x[-1]
    assert torch.equal(evenly(x[:5]), x[:5])
    assert len(evenly(x[:0])) == 0
    fit_through(nn.Sequential(nn.Conv1d(2, 5, 3), ActNorm(5)), torch.zeros(0, 2, 12))
