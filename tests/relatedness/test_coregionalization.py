"""A multi-task Gaussian process: planted B, its likelihood, what must not matter."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_stores import make_network, make_store
from scipy.stats import multivariate_normal

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.network import network_for
from gnnfusion.relatedness.agreement import auroc
from gnnfusion.relatedness.estimators import coregionalization as module
from gnnfusion.relatedness.estimators.coregionalization import (
    _of_samples,
    coregionalized,
    encoded_samples,
    estimate,
    in_common,
    principal_axes,
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
    b, _, sizes = coregionalized(*case)
    return in_common(b, sizes)


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
    expected = (0.3**2 / (0.5 * 0.4)) * np.sqrt(0.5 * 0.4)
    assert in_common(b, [1, 1])[0, 1] == pytest.approx(expected)
    assert in_common(np.diag([0.5, 0.5, 0.4]), [2, 1])[0, 1] == 0


def test_axes_hold_the_most_variance_and_have_a_total_of_one():
    x = np.random.default_rng(0).normal(size=(50, 6)) * [9, 8, 7, 0.1, 0.1, 0.1]
    z = principal_axes(x, 3)
    assert np.square(z).sum() / 50 == pytest.approx(1)
    centred = x - x.mean(0)
    gram = centred @ centred.T
    np.testing.assert_allclose(z @ z.T, gram * 50 / np.trace(gram), atol=2e-3)
    assert principal_axes(x, 99).shape == (50, 6)
    assert principal_axes(np.zeros((9, 4)), 2).shape == (9, 2)


def test_nodes_of_one_number_stand_side_by_side_and_others_are_averaged():
    nodes = torch.arange(12, dtype=torch.float32).reshape(6, 2) ** 2
    found = _of_samples(nodes, torch.tensor([2, 0, 2, 2]))
    assert found.shape == (4, 4)
    assert not found[1].any()  # a missing one counts as the mean
    assert np.square(found).sum() / 4 == pytest.approx(1)
    uneven = _of_samples(nodes, torch.tensor([1, 3, 0, 2]))
    mean = np.stack([nodes[:1].mean(0), nodes[1:4].mean(0), nodes[4:].mean(0)])
    mean -= mean.mean(0)
    np.testing.assert_allclose(uneven[[0, 1, 3]] / uneven[0, 0], mean / mean[0, 0], rtol=1e-5)
    assert not _of_samples(nodes[:0], torch.zeros(3, dtype=torch.long)).any()


@pytest.mark.parametrize("sharing", ["auto", "single"])
def test_samples_are_what_the_encoders_make_of_their_own_nodes(sharing):
    """In batches or at once, of each network where there are several."""
    store = make_store(("vector", "tokens"), ("regression", "binary"), 300, missing=0.2)
    network = network_for(store, NetworkConfig(width=8, heads=2, sharing=sharing)).eval()
    network.fit_statistics(store, store.rows())
    rows = store.rows()[torch.randperm(300, generator=torch.Generator().manual_seed(0))]
    found = encoded_samples(network, store, rows)
    with torch.no_grad():
        batch = make_batch(store, rows, topology_of(store))
        encoded = network.encode_modalities(batch)
    parts = [encoded] if sharing == "auto" else list(encoded.values())
    expected = [
        _of_samples(h, torch.bincount(batch.node_sample(m), minlength=300))
        for part in parts for m, h in part.items()
    ]  # fmt: skip
    np.testing.assert_allclose(found, np.concatenate(expected, 1), atol=1e-5)


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
    few = store.rows()[:20]
    known = store.masks[few].numpy()
    few_labels = known.sum(0) < module.FEWEST
    partly = estimate(network, store, few, 0)
    assert (np.isnan(partly.value).all(1) == few_labels).all()
    assert partly.n[0, 1] == known[:, :2].any(1).sum()
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
