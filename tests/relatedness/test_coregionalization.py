"""A multi-task Gaussian process: planted B, its likelihood, what must not matter."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_stores import make_network, make_store
from scipy.stats import multivariate_normal

from gnnfusion.relatedness.agreement import auroc
from gnnfusion.relatedness.estimators import coregionalization as module
from gnnfusion.relatedness.estimators.coregionalization import (
    coregionalized,
    estimate,
    in_common,
    leading_columns,
    some_labelled,
)

FACTORS = np.array([[1, 0], [0.8, 0.6], [-1, 0], [0, 1], [0, 0]])  # the third negates the first


def planted(seed, rows=500, axes=12, noise=0.5):
    """Labels that are linear in the axes; each row has the label of one task."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, axes)) / np.sqrt(axes)
    weights = FACTORS @ rng.normal(size=(2, axes))
    y = z @ weights.T + noise * rng.normal(size=(rows, len(FACTORS)))
    masks = np.arange(rows)[:, None] % len(FACTORS) == np.arange(len(FACTORS))
    return z, [y[:, [t]] for t in range(len(FACTORS))], masks


def values(*case):
    return in_common(*coregionalized(*case))


def random_case(seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(30, 3))
    goals = [rng.normal(size=(30, k)) + z[:, :1] for k in (1, 2)]
    masks = rng.random((30, 2)) < 0.7
    return rng, z, goals, masks


def test_labels_that_no_row_has_together_are_told_apart():
    """Copies and negations alike; what shares a factor above what does not, and noise near 0."""
    found = np.mean([values(*planted(s)) for s in range(5)], axis=0)
    cosine = np.nan_to_num(FACTORS / np.maximum(np.linalg.norm(FACTORS, axis=1), 1e-9)[:, None])
    truth = np.square(cosine @ cosine.T)
    off = ~np.eye(5, dtype=bool)
    assert np.corrcoef(found[off], truth[off])[0, 1] > 0.9
    assert auroc(found, truth > 0.3) > 0.95
    assert found[4, :4].max() < 0.1 < 0.5 < found[0, 2]


def test_no_step_lowers_the_likelihood():
    """Held to the density of all labels, whose covariance is written out."""
    _, z, goals, masks = random_case(0)

    def density(steps):
        b, noise, sizes = coregionalized(z, goals, masks, steps)
        task = np.repeat([0, 1], sizes)
        x, y, column = [], [], []
        for t, goal in enumerate(goals):
            there = masks[:, t]
            labels = goal[there] - goal[there].mean(0)
            labels /= np.sqrt(np.square(labels).sum() / there.sum())
            first = sum(sizes[:t])
            for k in range(sizes[t]):
                x.append(z[there] - z[there].mean(0))
                y.append(labels[:, k])
                column.append(np.full(there.sum(), first + k))
        x, y, column = (np.concatenate(part) for part in (x, y, column))
        covariance = b[column][:, column] * (x @ x.T) + np.diag(noise[task[column]])
        return multivariate_normal(cov=covariance).logpdf(y)

    found = [density(steps) for steps in range(1, 12)]
    assert (np.diff(found) > -1e-4).all()  # B and noise are kept from 0 by a little
    assert found[-1] > found[0] + 0.1


@given(st.integers(0, 10**6))
@settings(max_examples=25)
def test_place_turn_and_scale_of_labels_order_and_hidden_labels_do_not_matter(seed):
    rng, z, goals, masks = random_case(seed)
    found = values(z, goals, masks)
    assert (found >= 0).all()
    assert (found <= 1).all()
    turn, other = (np.linalg.qr(rng.normal(size=(k, k)))[0] for k in (2, 3))
    changed = [-3 * goals[0] + 1, 2 * goals[1] @ turn - 1]
    changed = [np.where(m[:, None], y, 99.0) for y, m in zip(changed, masks.T, strict=True)]
    np.testing.assert_allclose(values(z, changed, masks), found, rtol=1e-5)
    np.testing.assert_allclose(values(z @ other, goals, masks), found, rtol=1e-6)
    again = values(z, goals[::-1], masks[:, ::-1])
    np.testing.assert_allclose(again[::-1, ::-1], found, rtol=1e-6)


def test_of_single_outputs_it_is_the_squared_correlation_times_what_is_told():
    b = np.array([[0.5, 0.3], [0.3, 0.4]])
    expected = (0.3**2 / (0.5 * 0.4)) * np.sqrt(0.8 * 0.6)
    assert in_common(b, np.array([0.2, 0.4]), [1, 1])[0, 1] == pytest.approx(expected)
    apart = in_common(np.diag([0.5, 0.5, 0.4]), np.array([0.1, 0.4]), [2, 1])
    assert apart[0, 1] == 0
    assert apart[0, 0] == pytest.approx(0.8)  # of two columns, each with noise 0.1


@pytest.mark.parametrize("spectrum", [np.ones(12), 1 / np.arange(1, 13) ** 2])
def test_of_a_copy_it_is_the_share_that_the_features_tell_whatever_the_axes(spectrum):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4000, 12)) * np.sqrt(spectrum)
    for axis in (0, 11):
        signal = z[:, [axis]] / z[:, axis].std()
        goals = [signal + noise * rng.normal(size=(4000, 1)) for noise in (0.5, 0.5, 0.1, 0.1)]
        found = values(z, goals, np.ones((4000, 4), bool))
        assert found[0, 1] == pytest.approx(1 / 1.25, abs=0.03)
        assert found[2, 3] == pytest.approx(1 / 1.01, abs=0.03)


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_two_tasks_of_the_same_classes_are_as_related_however_many_there_are(classes):
    """Most of what is told of one is told of the other, which would shrink with their columns."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(3000, 6))
    masks = np.ones((3000, 2), bool)
    scores = 4 * z[:, :classes]
    goals = [
        leading_columns(np.eye(classes)[(scores + rng.gumbel(size=scores.shape)).argmax(1)], m)
        for m in masks.T
    ]
    assert [g.shape[1] for g in goals] == [classes - 1] * 2
    b, noise, sizes = coregionalized(z, goals, masks)
    found = in_common(b, noise, sizes)
    told = 1 - noise[0] * sizes[0]
    assert told > 0.3
    assert found[0, 1] > 0.9 * told


def test_a_task_of_two_classes_is_the_same_in_one_column_as_in_two():
    _, z, goals, masks = random_case(3)
    one = (goals[0] > 0).astype(float)
    two = leading_columns(np.concatenate([one, 1 - one], 1), masks[:, 0])
    other = leading_columns(goals[1], masks[:, 1])
    np.testing.assert_allclose(
        values(z, [two, other], masks), values(z, [one, other], masks), rtol=1e-6
    )


def test_of_many_columns_those_that_vary_most_are_kept():
    rng = np.random.default_rng(0)
    goal = rng.normal(size=(60, 12)) * np.arange(12, 0, -1)
    there = np.arange(60) < 50
    found = leading_columns(goal, there)
    assert found.shape == (60, 8)
    assert not found[~there].any()
    variances = np.square(found).sum(0)
    assert (np.diff(variances) < 0).all()
    assert variances.sum() > 0.9 * np.square(goal[there] - goal[there].mean(0)).sum()
    assert not leading_columns(np.ones((60, 3)), there).any()
    assert not leading_columns(goal, there & ~there).any()


def test_rare_labels_are_among_the_rows_that_are_read():
    masks = np.zeros((900, 3), bool)
    masks[:800, 0] = True
    masks[50:60, 1] = True
    found = some_labelled(masks, 90, np.random.default_rng(0))
    assert len(found) == 90
    assert (np.diff(found) > 0).all()
    assert masks[found].sum(0).tolist() == [90, 10, 0]
    np.testing.assert_array_equal(some_labelled(masks, 800, None), np.arange(800))
    other = some_labelled(masks, 90, np.random.default_rng(1))
    assert set(found) != set(other)


def test_a_graph_of_all_kinds_and_what_cannot_be_estimated():
    kinds = ("regression", "binary", "multiclass", "multilabel", "ordinal")
    store = make_store(("vector",), kinds, 80, unlabelled=0.3, derived={"t3": ("t1",)})
    network = make_network(store)
    graph = estimate(network, store, store.rows(), 0)
    expected = ~np.eye(5, dtype=bool)
    expected[[1, 3], [3, 1]] = False  # one is computed from the other
    np.testing.assert_array_equal(np.isfinite(graph.value), expected)
    np.testing.assert_array_equal(graph.value, graph.value.T)
    assert graph.symmetric
    assert np.isnan([graph.p_value, graph.low, graph.high]).all()
    few = store.rows()
    known = few[store.masks[few][:, 1]]
    without = torch.tensor([r for r in few.tolist() if r not in known.tolist()])
    for count, there in ((7, False), (8, True)):  # rows that have the second task's label
        partly = estimate(network, store, torch.cat([known[:count], without]), 0)
        assert np.isfinite(partly.value[1, 0]) == there
        assert np.isfinite(partly.value[0, 2])
        assert partly.n[1, 1] == count
    assert np.isnan(estimate(network, store, few[:3], 0).value).all()


def test_of_many_rows_some_are_read(monkeypatch):
    store = make_store(("vector",), ("regression", "binary"), 80)
    network, read = make_network(store), []
    monkeypatch.setattr(module, "MOST", 30)
    plain = module.encoded_samples
    monkeypatch.setattr(module, "encoded_samples", lambda *a: read.append(len(a[2])) or plain(*a))
    first, same, other = (estimate(network, store, store.rows(), s).value[0, 1] for s in (0, 0, 1))
    assert read == [30, 30, 30]
    assert first == same != other
