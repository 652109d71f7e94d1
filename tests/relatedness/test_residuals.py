import numpy as np
import pytest
import torch
from random_stores import make_network, make_store
from scipy.stats import kstest
from torch.nn import functional as F

from gnnfusion.relatedness.alignment import aligned
from gnnfusion.relatedness.estimators.residuals import (
    FLIPS,
    association,
    estimate,
    residuals,
    with_interval,
)

KINDS = ("regression", "binary", "multiclass", "multilabel", "ordinal", "regression2")


@pytest.fixture(scope="module")
def store():
    return make_store(("vector", "tokens"), KINDS, samples=40, derived={"t1": ("t0",)})


def test_residuals_are_labels_less_expectations(store):
    network = make_network(store)
    draw = torch.Generator().manual_seed(0)

    def outputs(task):
        return torch.randn(20, network.heads[task].net[-1].out_features, generator=draw)

    classes = torch.randint(0, 2, (20,), generator=draw)
    out = outputs("t1")
    expected = classes.float().unsqueeze(1) - out.sigmoid()
    torch.testing.assert_close(residuals(network.head("t1"), out, classes), expected)
    out = outputs("t2")
    expected = F.one_hot(classes, out.shape[1]).float() - out.softmax(1)
    torch.testing.assert_close(residuals(network.head("t2"), out, classes), expected)
    head, out, target = network.head("t0"), outputs("t0"), torch.randn(20, 1, generator=draw)
    expected = (target - head.mean) / head.std - out
    torch.testing.assert_close(residuals(head, out, target), expected)


def test_single_outputs_have_the_absolute_correlation():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(300, 1))
    b = 0.5 * a + rng.normal(size=(300, 1))
    value, low, high, p_value = association(a, b, rng)
    assert value == pytest.approx(np.corrcoef(a[:, 0], b[:, 0])[0, 1])
    assert association(a, -b, rng)[0] == pytest.approx(value)
    assert association(5 * a + 1, b, rng)[0] == pytest.approx(value)
    assert 0 < low < value < high < 1
    assert p_value == pytest.approx(1 / (FLIPS + 1))


def test_rotating_a_representation_changes_nothing():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(60, 3)), rng.normal(size=(60, 2))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert association(a @ turn, b, rng)[0] == pytest.approx(association(a, b, rng)[0])
    assert association(a, a @ turn, rng)[0] == pytest.approx(1)


@pytest.mark.parametrize("width", [1, 3])
def test_p_values_are_uniform_where_spreads_go_together(width):
    """Uncorrelated, and yet not independent: the spread of both follows a common factor."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        scale = rng.exponential(size=(60, 1))
        a, b = (scale * rng.normal(size=(60, w)) for w in (1, width))
        found.append(association(a, b, rng)[3])
    assert kstest(found, "uniform").pvalue > 1e-3
    assert np.mean(np.array(found) <= 0.05) <= 0.11


@pytest.mark.parametrize("slope", [0.0, 0.4])
def test_intervals_cover_what_is_there(slope):
    rng = np.random.default_rng(1)
    truth = slope / np.hypot(1, slope)
    inside = 0
    for _ in range(200):
        a = rng.normal(size=(100, 1))
        _, low, high, _ = association(a, slope * a + rng.normal(size=(100, 1)), rng)
        inside += low <= truth <= high
    assert inside >= 180  # 0.95 of 200, less four standard errors


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_intervals_of_several_outputs_cover_what_is_there(slope):
    rng = np.random.default_rng(1)

    def draw(n):
        a = rng.normal(size=(n, 3))
        return a, slope * a[:, :2] + rng.normal(size=(n, 2))

    truth = aligned(*draw(100_000)) ** 0.5 if slope else 0.0
    inside = 0
    for _ in range(200):
        _, low, high = with_interval(*draw(150), rng)
        inside += low <= truth <= high
    assert inside >= 178


def test_the_graph_is_symmetric_and_leaves_derived_pairs_out(store):
    graph = estimate(make_network(store), store, store.rows(), 0)
    assert graph.question == "label i informs j beyond the features"
    for matrix in (graph.value, graph.low, graph.high, graph.p_value, graph.n):
        np.testing.assert_array_equal(matrix, matrix.T)
    assert np.isnan(graph.value[0, 1])
    both = (store.mask("t0") & store.mask("t2")).sum()
    assert graph.n[0, 2] == both
    assert np.isfinite(graph.value[0, 2]) == (both >= 8)


def test_labels_that_never_meet_have_no_value(store):
    from gnnfusion.graphs.store import GraphStore

    tensors = dict(store.tensors)
    half = torch.arange(len(store)) % 2
    tensors["mask/t0"], tensors["mask/t2"] = half.byte(), (1 - half).byte()
    apart = GraphStore(store.meta, tensors)
    graph = estimate(make_network(apart), apart, apart.rows(), 0)
    assert np.isnan(graph.value[0, 2])
    assert graph.n[0, 2] == 0
