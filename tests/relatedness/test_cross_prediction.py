import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_stores import make_network, make_store

from gnnfusion.relatedness.estimators.cross_prediction import _expected, alignment, estimate
from gnnfusion.relatedness.estimators.representation import cka_matrix
from gnnfusion.relatedness.estimators.residuals import residuals
from gnnfusion.training.evaluate import outputs
from gnnfusion.training.objective import label_goal

KINDS = ("regression", "binary", "multiclass", "multilabel", "ordinal")


def drawn(seed, rows=40):
    rng = np.random.default_rng(seed)
    sizes = (1, 3, 2)
    expected = [rng.normal(size=(rows, k)) for k in sizes]
    labels = [rng.normal(size=(rows, k)) for k in sizes]
    return rng, expected, labels, rng.random((rows, 3)) < 0.7


def test_of_single_outputs_it_is_the_mean_squared_correlation():
    _, expected, labels, masks = drawn(0)
    one = [e[:, :1] for e in expected], [y[:, :1] for y in labels]
    found = alignment(*one, masks)

    def squared(i, j):
        there = masks[:, j]
        return np.corrcoef(one[0][i][there, 0], one[1][j][there, 0])[0, 1] ** 2

    assert found[0, 1] == found[1, 0] == pytest.approx((squared(0, 1) + squared(1, 0)) / 2)


def test_with_every_label_it_is_the_alignment_of_kernels():
    _, expected, labels, _ = drawn(1)
    found = alignment(expected, labels, np.ones((40, 3), bool))
    both = (cka_matrix([expected[1], labels[2]]) + cka_matrix([labels[1], expected[2]]))[0, 1] / 2
    assert found[1, 2] == pytest.approx(both)


@given(st.integers(0, 10**6))
def test_place_turn_and_scale_of_outputs_and_hidden_labels_do_not_matter(seed):
    rng, expected, labels, masks = drawn(seed)
    found = alignment(expected, labels, masks)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    expected[1] = 2 * expected[1] @ turn + 1
    labels = [np.where(m[:, None], y, 99.0) for y, m in zip(labels, masks.T, strict=True)]
    np.testing.assert_allclose(alignment(expected, labels, masks), found)
    order = rng.permutation(3)
    again = alignment([expected[t] for t in order], [labels[t] for t in order], masks[:, order])
    np.testing.assert_allclose(again, found[np.ix_(order, order)])


def test_no_row_needs_both_labels_and_one_direction_is_enough():
    rng, _, _, _ = drawn(2)
    y = rng.normal(size=(60, 1))
    first = np.arange(60) < 30
    masks = np.stack([first, ~first, first & ~first], axis=1)
    found = alignment([y, y, y], [y, y, y], masks)
    assert found[0, 1] == pytest.approx(1)
    assert found[0, 2] == pytest.approx(1)  # by the labels of the first alone
    assert np.isnan(found[2, 2])


@pytest.mark.parametrize("kind", KINDS)
def test_labels_have_the_form_of_what_is_expected(kind):
    """Minus the loss's gradient by the outputs is what the label has beyond the expectation."""
    store = make_store(("vector",), (kind,), samples=12, unlabelled=0.0, missing=0.0)
    network, rows = make_network(store), store.rows()
    head, out = network.head("t0"), outputs(network, store, rows)["t0"]
    target = store.target("t0")[rows]
    beyond = label_goal(head, target) - _expected(head, out)
    mean = 1 if kind == "multiclass" else out.shape[1]
    torch.testing.assert_close(mean * residuals(head, out, target), beyond.float())


def test_a_graph_of_all_kinds():
    store = make_store(("vector", "tokens"), KINDS, samples=60, derived={"t2": ("t0",)})
    graph = estimate(make_network(store), store, store.rows(), 0)
    off = ~np.eye(5, dtype=bool) & ~graph.derived
    assert np.isnan(graph.value[0, 2])
    assert np.isfinite(graph.value[off]).all()
    assert (graph.low[off] <= graph.high[off]).all()
    np.testing.assert_array_equal(graph.value, graph.value.T)
    masks = store.masks.numpy()
    assert graph.n[0, 1] == (masks[:, 0] | masks[:, 1]).sum()
    assert graph.ranks_only
    assert not graph.tested
