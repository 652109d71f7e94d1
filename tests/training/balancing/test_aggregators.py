"""The mathematics of methods that aggregate gradients, on the gradients that are there."""

import numpy as np
import pytest
import quadprog
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd import aggregation
from toy_losses import AGGREGATORS, balancer, rows, step

from gnnfusion.errors import RunError
from gnnfusion.training.balancing.solvers import cagrad_weights, fair_weights

seeds = st.integers(0, 10_000)
PRESENT = torch.tensor([True, True, False, True])


def aggregate(name, matrix, present=None):
    return step(balancer(name, len(matrix)), matrix, present=present)


@pytest.mark.parametrize(
    ("name", "solver"), [("nash_mtl", "fair_weights"), ("cagrad", "cagrad_weights")]
)
def test_a_solver_that_fails_raises(name, solver, monkeypatch):
    """Errors that are neither of ValueError nor of RuntimeError among them; nothing falls back."""

    class Failed(Exception):
        pass

    def failing(*_, **__):
        raise Failed("the matrix is not positive definite")

    monkeypatch.setattr(f"gnnfusion.training.balancing.aggregators.{solver}", failing)
    with pytest.raises(RunError, match="gradients could not be combined: the matrix is not"):
        aggregate(name, rows(3))


def units(matrix):
    return matrix / matrix.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("name", ["upgrad", "dual_proj", "mgda"])
@given(seed=seeds)
@settings(max_examples=15)
def test_no_present_task_loses(name, seed):
    """Never in conflict with a gradient that is there, in however small a space."""
    matrix = rows(4, size=5, seed=seed)
    found = aggregate(name, matrix, PRESENT)
    assert (units(matrix[PRESENT]) @ found >= -0.02 * matrix.norm()).all()


@given(seed=seeds)
@settings(max_examples=15)
def test_upgrad_is_the_mean_where_nothing_conflicts(seed):
    matrix = rows(3, seed=seed).abs()
    torch.testing.assert_close(aggregate("upgrad", matrix), matrix.mean(0), rtol=1e-3, atol=1e-4)


@given(seed=seeds)
@settings(max_examples=15)
def test_mgda_is_the_shortest_mixture(seed):
    matrix = rows(4, size=8, seed=seed)
    gramian = (matrix @ matrix.T).double().numpy()
    simplex = np.hstack([np.ones((4, 1)), np.eye(4)])
    w = quadprog.solve_qp(gramian, np.zeros(4), simplex, np.array([1.0, 0, 0, 0, 0]), 1)[0]
    shortest = torch.from_numpy(w).float() @ matrix
    found = aggregate("mgda", matrix)
    assert found.norm() >= shortest.norm() * 0.999
    assert (found - shortest).norm() < 0.05 * matrix.norm()


def test_mgda_with_an_absent_task_still_learns():
    """A zero row in its place would make the shortest mixture zero, and nothing would learn."""
    matrix = rows(4)
    assert not aggregation.MGDA()(matrix * PRESENT.unsqueeze(1)).any()
    found = aggregate("mgda", matrix, PRESENT)
    torch.testing.assert_close(found, 0.75 * aggregation.MGDA()(matrix[PRESENT]))
    assert found.norm() > 0.1


def test_upgrad_is_not_poisoned_by_an_absent_task():
    """A NaN in its place would make every weight NaN, or the solver fail."""
    found = aggregate("upgrad", rows(4), PRESENT)
    assert found.isfinite().all()
    torch.testing.assert_close(found, 0.75 * aggregation.UPGrad()(rows(4)[PRESENT]))


def test_pcgrad_of_two_projects_each_off_the_other():
    a, b = matrix = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 2.0, 0.0]])
    dot = a @ b
    expected = (a - dot / b.dot(b) * b + b - dot / a.dot(a) * a) / 2
    torch.testing.assert_close(aggregate("pcgrad", matrix), expected)


@pytest.mark.parametrize("name", ["imtl_g", "config"])
@given(seed=seeds)
@settings(max_examples=15)
def test_all_tasks_gain_equally_along_their_gradients(name, seed):
    """And none loses, however short one of them is; nor is the step longer than their mean length
    allows (the paper's IMTL-G divides by a sum of weights that may be close to zero)."""
    matrix = rows(4, seed=seed) * torch.tensor([[1.0], [0.05], [1.0], [1.0]])
    step = aggregate(name, matrix, PRESENT)
    gains = units(matrix[PRESENT]) @ step
    torch.testing.assert_close(gains, gains.mean().expand(3), rtol=1e-2, atol=1e-3)
    assert gains.mean() > 0
    assert name != "imtl_g" or step.norm() <= matrix[PRESENT].norm(dim=1).max() * 1.001


def test_aligned_mtl_makes_orthogonal_gradients_equally_long():
    matrix = torch.diag(torch.tensor([4.0, 1.0, 2.0]))
    torch.testing.assert_close(aggregate("aligned_mtl", matrix), torch.full((3,), 1 / 3))


@given(seed=seeds, count=st.integers(1, 8), alpha=st.sampled_from([1.0, 2.0]))
@settings(max_examples=60)
def test_fair_weights_solve_their_equation(seed, count, alpha):
    """Also for more gradients than dimensions, nearly parallel, opposed and very unequal ones."""
    matrix = rows(count, size=5, seed=seed).double()
    matrix *= torch.logspace(0, -3, count, dtype=torch.double).unsqueeze(1)
    matrix += matrix[:1] * (seed % 3)
    if seed % 5 == 0 and count > 1:
        matrix[1] = -matrix[0]
    gramian = (matrix @ matrix.T / matrix.square().sum()).numpy()
    x = fair_weights(gramian, alpha)
    assert (x > 0).all()
    left, right = (gramian + 1e-8 * np.eye(count)) @ x, x ** (-1 / alpha)
    np.testing.assert_allclose(left / right, 1.0, atol=1e-4)


@given(seed=seeds)
@settings(max_examples=15)
def test_fair_weights_are_torchjds(seed):
    matrix = rows(3, seed=seed).double()
    gramian = matrix @ matrix.T / matrix.square().sum()
    expected = aggregation.FairGradWeighting(alpha=2.0)(gramian)
    np.testing.assert_allclose(fair_weights(gramian.numpy(), 2.0), expected, rtol=1e-3)


@given(seed=seeds)
@settings(max_examples=15)
def test_nash_mtl_is_the_bargain(seed):
    """No step of the same length has a larger product of gains."""
    matrix = rows(3, size=6, seed=seed)
    found = aggregate("nash_mtl", matrix)
    gains = matrix @ found
    assert (gains > 0).all()
    others = found + 0.3 * found.norm() * torch.randn(
        500, 6, generator=torch.Generator().manual_seed(seed)
    )
    others = others / others.norm(dim=1, keepdim=True) * found.norm()
    products = (others @ matrix.T).clamp_min(0).prod(1)
    assert (products <= gains.prod() * 1.001).all()


@given(seed=seeds)
@settings(max_examples=15)
def test_cagrad_is_best_for_the_worst_near_the_mean(seed):
    matrix = rows(3, size=6, seed=seed)
    found, mean = aggregate("cagrad", matrix), matrix.mean(0)
    radius = 0.5 * mean.norm()
    torch.testing.assert_close((found - mean).norm(), radius, rtol=1e-3, atol=1e-4)
    away = torch.randn(500, 6, generator=torch.Generator().manual_seed(seed))
    others = mean + radius * units(away)
    worst = (others @ matrix.T).amin(1)
    assert (worst <= (matrix @ found).min() + 1e-3).all()


def test_cagrad_of_gradients_that_cancel_is_zero():
    gramian = np.array([[0.5, -0.5], [-0.5, 0.5]])
    assert np.array_equal(cagrad_weights(gramian), [0.5, 0.5])


def test_grad_drop_keeps_one_sign_in_every_coordinate():
    matrix = rows(4)
    found = aggregate("grad_drop", matrix, PRESENT) * 4
    there = matrix[PRESENT]
    up, down = there.clamp_min(0).sum(0), there.clamp_max(0).sum(0)
    assert (torch.isclose(found, up, atol=1e-5) | torch.isclose(found, down, atol=1e-5)).all()


def test_a_trimmed_mean_leaves_out_both_ends():
    matrix = torch.tensor([[1.0, 9.0], [2.0, -9.0], [4.0, 0.0], [9.0, 1.0]])
    torch.testing.assert_close(aggregate("trimmed_mean", matrix), torch.tensor([3.0, 0.5]))
    two = matrix[:2]
    torch.testing.assert_close(aggregate("trimmed_mean", two), two.mean(0))


@pytest.mark.parametrize(
    ("name", "theirs", "share"),
    [
        ("grad_vac", aggregation.GradVac(), 1 / 3),
        ("excess_mtl", aggregation.ExcessMTL(0.01, n_warmup_steps=1), 1.0),
        (
            "cr_mogm",
            aggregation.GramianWeightedAggregator(
                aggregation.CRMOGMWeighting(aggregation.MGDAWeighting())
            ),
            1.0,
        ),
    ],
)
def test_memory_by_task_is_torchjds_where_nothing_is_missing(name, theirs, share):
    method = balancer(name)
    for seed in range(12):
        matrix = rows(seed=seed)
        found = step(method, matrix)
        torch.manual_seed(0)
        torch.testing.assert_close(found, share * theirs(matrix), rtol=1e-3, atol=1e-4)


def test_excess_risk_gives_more_to_the_task_that_can_still_gain():
    """Task 0 has arrived: its gradient shrinks; that of task 1 stays."""
    method, matrix = balancer("excess_mtl", 2), rows(2)
    for n in range(300):
        step(method, matrix * torch.tensor([[0.97**n], [1.0]]))
    weights = method.log_weights.softmax(0)
    assert weights[1] > 0.55


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("scale", [1e-5, 1e3])
def test_a_step_scales_with_its_gradients(name, scale):
    """No constant in a solver decides what small is: UPGrad alone would turn into the mean."""
    matrix = rows()
    torch.testing.assert_close(
        aggregate(name, matrix * scale) / scale, aggregate(name, matrix), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("name", ["imtl_g", "config", "nash_mtl", "aligned_mtl"])
@given(scale=st.floats(0.1, 10), seed=seeds)
@settings(max_examples=15)
def test_the_direction_does_not_depend_on_the_scale_of_one_task(name, scale, seed):
    matrix = rows(seed=seed)
    if name == "aligned_mtl":  # of orthogonal gradients; others are aligned by their main axes
        matrix = torch.linalg.qr(matrix.T)[0].T
    a = aggregate(name, matrix)
    b = aggregate(name, matrix * torch.tensor([[scale], [1.0], [1.0]]))
    torch.testing.assert_close(b / b.norm(), a / a.norm(), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_equal_gradients_stay_what_they_are(name):
    """All are means, so where tasks agree they give the mean; CAGrad goes half a length beyond."""
    matrix = rows(1).expand(3, -1).contiguous()
    expected = matrix[0] * (1.5 if name == "cagrad" else 1.0)
    torch.testing.assert_close(aggregate(name, matrix), expected, rtol=1e-3, atol=1e-3)
