import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_stores import make_network, make_store
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from gnnfusion.relatedness.estimators.representation import (
    cka_matrix,
    estimate_cka,
    estimate_rsa,
    rsa_draws,
    rsa_matrix,
)


def vectors(seed, count=20):
    rng = np.random.default_rng(seed)
    return rng, rng.normal(size=(count, 3)), rng.normal(size=(count, 2))


@given(st.integers(0, 10**6))
def test_alignment_ignores_place_turn_and_scale(seed):
    rng, x, y = vectors(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    value = cka_matrix([x, y])[0, 1]
    assert 0 <= value <= 1
    assert cka_matrix([3 * x @ turn + 1, y])[0, 1] == pytest.approx(value)
    assert cka_matrix([x, x @ turn])[0, 1] == pytest.approx(1)


def test_alignment_of_single_outputs_is_the_squared_correlation():
    _, x, y = vectors(0)
    expected = np.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2
    assert cka_matrix([x[:, :1], y[:, :1]])[0, 1] == pytest.approx(expected)


def test_alignment_is_that_of_kernels():
    """HSIC of linear kernels, over the roots of its own: Kornblith et al., equation 3."""
    _, x, y = vectors(1)
    centre = np.eye(20) - 1 / 20
    k, m = centre @ (x @ x.T) @ centre, centre @ (y @ y.T) @ centre
    expected = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
    assert cka_matrix([x, y])[0, 1] == pytest.approx(expected)


def test_likeness_is_the_rank_correlation_of_distances():
    _, x, y = vectors(2)
    expected = spearmanr(pdist(x), pdist(y)).statistic
    found = rsa_matrix([x, y, x + 5])
    assert found[0, 1] == pytest.approx(expected)
    assert found[0, 2] == pytest.approx(1)
    assert found[1, 0] == found[0, 1]


def test_a_bootstrap_sample_is_likened_as_its_rows_are_without_pairs_of_one():
    _, x, y = vectors(3, 12)
    found = rsa_draws([x, y], 5, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    places = rng.integers(0, 12, (5, 12))
    for draw, rows in zip(found, places, strict=True):
        a, b = np.triu_indices(12, 1)
        apart = rows[a] != rows[b]
        expected = spearmanr(pdist(x[rows])[apart], pdist(y[rows])[apart]).statistic
        assert draw[0, 1] == pytest.approx(expected)


def test_draws_vary_as_samples_do():
    rng = np.random.default_rng(0)

    def sample():
        x = rng.normal(size=(60, 2))
        return [x, 0.6 * x + 0.8 * rng.normal(size=(60, 2))]

    values, drawn = [], []
    for n in range(300):
        some = sample()
        values.append(rsa_matrix(some)[0, 1])
        if n % 10 == 0:
            drawn.append(rsa_draws(some, 60, rng)[:, 0, 1].var(ddof=1))
    assert np.mean(drawn) == pytest.approx(np.var(values), rel=0.35)


def test_what_is_constant_is_like_nothing():
    _, x, _ = vectors(0)
    for matrix in (cka_matrix, rsa_matrix):
        assert np.isnan(matrix([x, np.ones((20, 2))])[0, 1])


@pytest.mark.parametrize("estimate", [estimate_cka, estimate_rsa])
def test_graphs_need_no_label(estimate):
    store = make_store(("vector", "tokens"), ("regression", "multiclass", "binary"), samples=30,
                       derived={"t2": ("t0",)})  # fmt: skip
    network = make_network(store)
    graph = estimate(network, store, store.rows(), 0)
    for name in store.schema.task_names:
        store.tensors[f"mask/{name}"][:] = 0
    again = estimate(network, store, store.rows(), 0)
    np.testing.assert_array_equal(graph.value, again.value)
    np.testing.assert_array_equal(graph.value, graph.value.T)
    assert np.isnan(graph.value[0, 2])
    assert graph.low[0, 1] <= graph.value[0, 1] <= graph.high[0, 1]
    for ends in (graph.low, graph.high):
        np.testing.assert_array_equal(ends, ends.T)
    assert graph.ranks_only
