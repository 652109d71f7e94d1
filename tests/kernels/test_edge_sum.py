"""Sums over edges against a row for each edge, with all their derivatives."""

import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from gnnfusion.kernels import edge_sum as kernel
from gnnfusion.kernels.edge_sum import edge_mean, edge_sum, scattered

SIZES = (st.integers(1, 6), st.integers(0, 6), st.integers(0, 30), st.integers(0, 10**6))


def wired(sources, targets, edges, seed):
    """Features, edges in any order, some of them twice and some nodes without any, and weights."""
    draw = torch.Generator().manual_seed(seed)
    edges = edges if targets else 0
    x = torch.randn(sources, 3, generator=draw, dtype=torch.double)
    index = torch.stack([
        torch.randint(0, n, (edges,), generator=draw) for n in (sources, max(targets, 1))
    ])  # fmt: skip
    return x, index, torch.rand(edges, generator=draw, dtype=torch.double)


@given(*SIZES)
@settings(max_examples=60)
def test_sums_and_means_are_those_of_a_row_for_each_edge(n, m, edges, seed):
    x, index, weight = wired(n, m, edges, seed)
    for _ in range(2):  # sorted anew, and as it was kept
        torch.testing.assert_close(edge_sum(x, index, m), scattered(x, index, m, "sum"))
        torch.testing.assert_close(edge_mean(x, index, m), scattered(x, index, m, "mean"))
        weighted = edge_sum(x, index, m, weight)
        torch.testing.assert_close(weighted, scattered(x, index, m, "sum", weight))


@given(*SIZES)
@settings(max_examples=20)
def test_first_and_second_derivatives_are_the_numerical_ones(n, m, edges, seed):
    x, index, weight = wired(n, max(m, 1), edges, seed)
    x.requires_grad_()
    for function in (
        lambda y: edge_sum(y, index, max(m, 1), weight).square(),
        lambda y: edge_mean(y, index, max(m, 1)).square(),
    ):
        assert gradcheck(function, (x,), check_forward_ad=True)
        assert gradgradcheck(function, (x,))


FORMS = {
    "transposed": torch.arange(16.0).view(4, 4).T,
    "one row for all": torch.arange(4.0).expand(4, 4),
    "every other": torch.arange(32.0).view(8, 4)[::2],
}


@pytest.mark.parametrize("x", FORMS.values(), ids=FORMS)
def test_features_may_lie_in_memory_as_they_like(x):
    index = torch.tensor([[1, 0, 3], [2, 0, 0]])
    torch.testing.assert_close(edge_sum(x, index, 3), scattered(x, index, 3, "sum"))


def test_half_precision_takes_the_reference():
    x, index, _ = wired(5, 4, 12, 0)
    x = x.bfloat16()
    assert torch.equal(edge_mean(x, index, 4), scattered(x, index, 4, "mean"))


def test_edges_that_are_equal_are_sorted_once_and_others_never_mixed_up(monkeypatch):
    found = []
    monkeypatch.setattr(kernel, "_bags", lambda *a, real=kernel._bags: found.append(1) or real(*a))
    x, index, _ = wired(5, 4, 12, 1)
    kernel._recent.clear()
    first = edge_sum(x, index, 4)
    assert torch.equal(edge_sum(x, index.clone(), 4), first)
    assert len(found) == 1
    other = index.flip(1)  # the same edges in another order
    other[0, 0] = (other[0, 0] + 1) % 5
    torch.testing.assert_close(edge_sum(x, other, 4), scattered(x, other, 4, "sum"))
    torch.testing.assert_close(edge_sum(x, index, 6), scattered(x, index, 6, "sum"))
    wider = torch.cat([x, x])  # the same edges among more sources
    torch.testing.assert_close(edge_sum(wider, index, 4), scattered(wider, index, 4, "sum"))


def test_what_was_sorted_goes_with_the_edges():
    gc.collect()
    before = len(kernel._kept)
    x, index, _ = wired(5, 4, 12, 2)
    edge_sum(x.requires_grad_(), index, 4).sum().backward()
    assert len(kernel._kept) == before + 1
    del index
    gc.collect()
    assert len(kernel._kept) == before
