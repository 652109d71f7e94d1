"""Sums over edges against a row for each edge, with all their derivatives."""

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad, gradcheck, gradgradcheck

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


def test_forward_mode_works_without_gradients_and_torch_func_takes_the_reference():
    x, index, weight = wired(4, 3, 9, 0)
    with torch.no_grad(), forward_ad.dual_level():
        out = edge_mean(forward_ad.make_dual(x, 2 * x), index, 3)
        torch.testing.assert_close(forward_ad.unpack_dual(out).tangent, 2 * edge_mean(x, index, 3))
    found = torch.func.grad(lambda y: edge_sum(y, index, 3, weight).square().sum())(x)
    y = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(edge_sum(y, index, 3, weight).square().sum(), y)
    torch.testing.assert_close(found, expected)


def test_weights_may_be_of_another_precision():
    x, index, weight = wired(4, 3, 9, 0)
    found = edge_sum(x.float(), index, 3, weight)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), edge_sum(x, index, 3, weight), rtol=1e-5, atol=1e-5)


FORMS = {
    "transposed": torch.randn(16, 50).T,
    "one row for all": torch.randn(16).expand(50, 16),
    "every other column": torch.randn(50, 32)[:, ::2],
}


@pytest.mark.parametrize("x", FORMS.values(), ids=FORMS)
def test_features_may_lie_in_memory_as_they_like(x):
    _, index, weight = wired(50, 20, 200, 0)
    found = edge_sum(x, index, 20, weight.float())
    torch.testing.assert_close(found, scattered(x, index, 20, "sum", weight.float()))


def test_half_precision_takes_the_reference():
    x, index, _ = wired(50, 50, 400, 0)
    x = x.bfloat16()
    assert torch.equal(edge_mean(x, index, 50), scattered(x, index, 50, "mean"))
    assert torch.equal(edge_sum(x, index, 50), scattered(x, index, 50, "sum"))


def test_an_edge_to_nowhere_is_an_error():
    with pytest.raises(IndexError, match="an edge ends at node 7, and there are 3"):
        edge_sum(torch.ones(2, 1), torch.tensor([[0, 1], [0, 7]]), 3)


def test_what_a_pass_in_inference_mode_sorted_serves_a_training():
    x, index, _ = wired(5, 4, 12, 3)
    with torch.inference_mode():
        edge_mean(x, index.clone(), 4)
    y = x.clone().requires_grad_()
    edge_mean(y, index, 4).sum().backward()
    z = x.clone().requires_grad_()
    scattered(z, index, 4, "mean").sum().backward()
    torch.testing.assert_close(y.grad, z.grad)


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
    for same in (index, index.clone()):  # the same edges among more sources, there and back
        wider = torch.cat([x, x]).requires_grad_()
        out = edge_sum(wider, same, 4)
        torch.testing.assert_close(out, first)
        (gradient,) = torch.autograd.grad(out.sum(), wider)
        (expected,) = torch.autograd.grad(scattered(wider, same, 4, "sum").sum(), wider)
        torch.testing.assert_close(gradient, expected)


def test_several_threads_may_sum_at_once():
    x = torch.randn(20, 3)

    def sums(seed):
        draw = torch.Generator().manual_seed(seed)
        for _ in range(300):
            index = torch.randint(0, 20, (2, 30), generator=draw)
            if not torch.allclose(
                edge_sum(x, index, 20), scattered(x, index, 20, "sum"), atol=1e-5
            ):
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(sums, range(4)))


def test_what_was_sorted_goes_with_the_edges():
    gc.collect()
    before = len(kernel._kept)
    x, index, _ = wired(5, 4, 12, 2)
    edge_sum(x.requires_grad_(), index, 4).sum().backward()
    assert len(kernel._kept) == before + 1
    del index
    gc.collect()
    assert len(kernel._kept) == before
