"""The mathematics of methods that weigh losses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd import scalarization
from toy_losses import balancer, rows, step

from gnnfusion.training.balancing.balancer import Split

ALL = torch.ones(3, dtype=torch.bool)


def factors(method, values, present=None):
    """What each loss is weighed with; one is the static weight."""
    tasks = len(values)
    return step(method, tasks * torch.eye(tasks), torch.as_tensor(values), present)


def positive(count):
    return st.lists(st.floats(0.01, 50), min_size=count, max_size=count)


def test_static_weights_are_the_schemas():
    weights = torch.tensor([0.5, 0.2, 0.3])
    torch.testing.assert_close(factors(balancer("static", weights=weights), [1.0] * 3), 3 * weights)
    torch.testing.assert_close(factors(balancer("sum", weights=weights), [1.0] * 3), 9 * weights)


def test_dwa_weighs_by_the_ratio_of_the_last_two_epochs():
    method = balancer("dwa")
    assert torch.equal(factors(method, [1.0, 2.0, 3.0]), torch.ones(3))
    method.end_epoch(torch.tensor([4.0, 2.0, 1.0]), torch.ones(3))
    assert torch.equal(factors(method, [1.0, 2.0, 3.0]), torch.ones(3))
    method.end_epoch(torch.tensor([2.0, 1.0, 0.5]), torch.ones(3))
    torch.testing.assert_close(factors(method, [1.0, 2.0, 3.0]), torch.ones(3))  # equal ratios
    method.end_epoch(torch.tensor([1.0, 1.0, 0.5]), torch.ones(3))
    expected = 3 * (torch.tensor([0.5, 1.0, 1.0]) / 2).softmax(0)
    torch.testing.assert_close(factors(method, [1.0, 2.0, 3.0]), expected)
    # An epoch without labels of task 2: its ratio stays the one of the two epochs that had any.
    method.end_epoch(torch.tensor([0.25, 0.5, torch.nan]), torch.ones(3))
    expected = 3 * (torch.tensor([0.25, 0.5, 1.0]) / 2).softmax(0)
    torch.testing.assert_close(factors(method, [1.0, 2.0, 3.0]), expected)


def test_dwa_is_torchjds_where_nothing_is_missing():
    method, theirs = balancer("dwa"), scalarization.DWA()
    for epoch in range(4):
        values = torch.rand(3, generator=torch.Generator().manual_seed(epoch)) + 0.1
        leaf = values.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(theirs(leaf), leaf)
        torch.testing.assert_close(factors(method, values), slopes)
        theirs.step()
        method.end_epoch(values, values)


def test_performance_leads_or_follows():
    """Twice as good as guessing, as good, half as good: 4 to 2 to 1, and the other way round."""
    relative = torch.tensor([0.5, 1.0, 2.0])
    for name, parts in (("performance", [4, 2, 1]), ("performance_inverse", [1, 2, 4])):
        method = balancer(name)
        assert torch.equal(factors(method, [1.0] * 3), torch.ones(3))
        method.end_epoch(torch.ones(3), relative)
        torch.testing.assert_close(factors(method, [5.0, 1.0, 3.0]), 3 * torch.tensor(parts) / 7)
        method.end_epoch(torch.ones(3), torch.tensor([torch.nan, 1.0, torch.nan]))
        torch.testing.assert_close(factors(method, [5.0, 1.0, 3.0]), 3 * torch.tensor(parts) / 7)


def test_random_weights_are_new_and_even_in_the_mean():
    method = balancer("random")
    losses = torch.ones(3, requires_grad=True)
    torch.manual_seed(0)
    drawn = torch.stack([
        torch.autograd.grad(method(losses, ALL, Split()), losses)[0] * 3 for _ in range(2000)
    ])  # fmt: skip
    torch.testing.assert_close(drawn.sum(1), torch.full((2000,), 3.0))
    assert (drawn > 0).all()
    assert len(drawn.unique(dim=0)) == 2000
    assert ((drawn.mean(0) - 1).abs() < 4 * drawn.std(0) / 2000**0.5).all()


@given(values=positive(3), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_the_geometric_means_gradient(values, seed):
    matrix, losses = rows(seed=seed), torch.tensor(values)
    mean = losses.log().mean().exp()
    expected = mean * (matrix / losses.unsqueeze(1)).mean(0)
    torch.testing.assert_close(
        step(balancer("geometric_mean"), matrix, losses), expected, rtol=1e-4, atol=1e-4
    )


@given(values=positive(3), scale=st.floats(1e-2, 1e2))
@settings(max_examples=25)
def test_the_geometric_means_direction_does_not_depend_on_a_losss_scale(values, scale):
    matrix, scales = rows(), torch.tensor([scale, 1.0, 1.0])
    a = step(balancer("geometric_mean"), matrix, torch.tensor(values))
    b = step(
        balancer("geometric_mean"), matrix * scales.unsqueeze(1), torch.tensor(values) * scales
    )
    torch.testing.assert_close(b / b.norm(), a / a.norm(), rtol=1e-3, atol=1e-3)


def test_a_loss_of_zero_is_no_end():
    for name in ("geometric_mean", "famo", "uncertainty", "imtl_l", "stch", "pbi", "gradnorm"):
        method = balancer(name)
        for _ in range(3):
            assert step(method, rows(), torch.tensor([0.0, 1.0, 2.0])).isfinite().all(), name


@given(values=positive(4))
@settings(max_examples=25)
def test_soft_maximum_and_penalty_lead_the_largest_and_push_none_up(values):
    losses = torch.tensor(values)
    for name in ("stch", "pbi"):
        found = factors(balancer(name, 4), losses)
        assert (found >= -1e-4).all()
        order = losses.argsort()
        assert (found[order].diff() >= -1e-4).all()
        even = factors(balancer(name, 4), torch.full((4,), values[0]))
        torch.testing.assert_close(even, torch.ones(4), rtol=1e-3, atol=1e-3)
    found = factors(balancer("stch", 4), losses)
    torch.testing.assert_close(found, 4 * (losses / 0.5).softmax(0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["uncertainty", "imtl_l"])
def test_the_best_variance_is_the_loss(name):
    """Closed form: the slope of exp(-s) L + s is zero at exp(s) = L."""
    method, values = balancer(name), torch.tensor([0.3, 1.0, 4.0])
    for _ in range(300):
        factors(method, values)
    found = factors(method, values)
    expected = (0.5 if name == "uncertainty" else 1.0) / values
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)


@pytest.mark.parametrize(
    ("name", "theirs"), [("uncertainty", scalarization.UW), ("imtl_l", scalarization.IMTLL)]
)
def test_learned_scales_are_torchjds(name, theirs):
    method, other = balancer(name), theirs(3)
    adam = torch.optim.Adam(other.parameters(), lr=0.025)
    for seed in range(20):
        values = torch.rand(3, generator=torch.Generator().manual_seed(seed)) + 0.1
        leaf = values.clone().requires_grad_()
        adam.zero_grad()
        other(leaf).backward()
        torch.testing.assert_close(factors(method, values), leaf.grad)
        adam.step()


def test_famo_is_torchjds_where_nothing_is_missing():
    method, theirs = balancer("famo"), scalarization.FAMO(3)
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        before, after = torch.rand(2, 3, generator=draw) + 0.1
        leaf = before.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(theirs(leaf), leaf)
        torch.testing.assert_close(factors(method, before), 3 * slopes, rtol=1e-4, atol=1e-5)
        theirs.update(after)
        method.after_step(after)
    assert (factors(method, torch.ones(3)) - 1).abs().max() > 0.01


def test_famo_gives_more_to_the_task_that_gains_less():
    method = balancer("famo")
    for _ in range(30):
        factors(method, torch.ones(3))
        method.after_step(torch.tensor([0.5, 0.9, 0.99]))
    found = factors(method, torch.ones(3))
    assert found[0] < found[1] < found[2]


def test_gradnorms_weights_sum_to_the_number_of_tasks():
    """Also while tasks come and go; and an absent one keeps its weight."""
    method, draw = balancer("gradnorm", 4), torch.Generator().manual_seed(0)
    for _ in range(60):
        present = torch.rand(4, generator=draw) < 0.6
        before = method.factors()
        step(method, rows(4), torch.rand(4, generator=draw) + 0.1, present)
        torch.testing.assert_close(method.factors().sum(), torch.tensor(4.0))
        assert torch.equal(method.factors()[~present], before[~present])
    assert (method.factors() > 0).all()
    assert method.factors().std() > 0.1


def test_gradnorm_makes_gradients_equally_large():
    """At the same pace everywhere: the weighed norms meet."""
    method, matrix = balancer("gradnorm"), rows()
    for _ in range(200):
        step(method, matrix, torch.ones(3))
    size = method.factors() * matrix.norm(dim=1)
    torch.testing.assert_close(size, size.mean().expand(3), rtol=0.05, atol=0)


def test_gradnorm_gives_more_to_the_task_that_lags():
    method, matrix = balancer("gradnorm"), torch.eye(3)
    step(method, matrix, torch.ones(3))
    for _ in range(50):
        step(method, matrix, torch.tensor([0.9, 0.5, 0.1]))
    found = method.factors()
    assert found[0] > found[1] > found[2]
