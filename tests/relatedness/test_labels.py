import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_stores import make_store
from scipy.stats import spearmanr
from sklearn.metrics import normalized_mutual_info_score

from gnnfusion.graphs.store import GraphStore
from gnnfusion.relatedness.estimators.labels import (
    DRAWS,
    _information_without,
    association,
    estimate,
    with_interval,
)


def rng(seed=0):
    return np.random.default_rng(seed)


@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 5), st.floats(0, 1))
@settings(max_examples=25)
def test_classes_share_normalized_mutual_information(seed, p, q, copied):
    draw = rng(seed)
    a = draw.integers(0, p, 60)
    b = np.where(draw.random(60) < copied, a % q, draw.integers(0, q, 60))
    if len(set(a)) == 1 or len(set(b)) == 1:
        return
    found, low, high, p_value = association(a, b, False, rng())
    assert found == pytest.approx(normalized_mutual_info_score(a, b), abs=1e-9)
    assert 0 <= low <= high <= 1
    assert 1 / (DRAWS + 1) <= p_value <= 1


@given(st.integers(0, 10**6), st.floats(-1, 1))
@settings(max_examples=15)
def test_numbers_have_absolute_rank_correlation(seed, slope):
    draw = rng(seed)
    a = draw.normal(size=50).round(1)  # with ties
    b = np.exp(slope * a + draw.normal(size=50))
    found, low, high, _ = association(a, b, True, rng())
    assert found == pytest.approx(abs(spearmanr(a, b).statistic), abs=1e-9)
    assert low <= high


def test_a_number_and_a_class_share_information_of_quintiles():
    draw = rng(0)
    a, b = draw.integers(0, 3, 200), draw.normal(size=200)
    bins = np.searchsorted(np.quantile(b, [0.2, 0.4, 0.6, 0.8]), b)
    found, *_ = association(a, b, False, rng())
    assert found == pytest.approx(normalized_mutual_info_score(a, bins), abs=1e-9)


def test_a_constant_label_goes_with_nothing():
    found, low, high, p_value = association(np.zeros(30, int), np.arange(30) % 3, False, rng())
    assert (found, low, high) == (0, 0, 0)
    assert p_value == 1
    assert association(np.ones(30), np.arange(30.0), True, rng())[3] == 1


@pytest.mark.parametrize("ranks", [True, False])
def test_p_values_are_uniform_where_labels_are_unrelated(ranks):
    """A permutation test is exact: P(p <= a) <= a, and close to it. 200 data sets; the bounds are
    the binomial's at 1 in 10,000."""
    draw = rng(1)
    found = []
    for _ in range(200):
        a, b = (
            (draw.normal(size=25), draw.normal(size=25)) if ranks
            else (draw.integers(0, 3, 25), draw.integers(0, 2, 25))
        )  # fmt: skip
        found.append(association(a, b, ranks, draw)[3])
    found = np.array(found)
    for alpha, low, high in ((0.05, 1, 23), (0.2, 20, 63), (0.5, 74, 126)):
        hits = int((found <= alpha).sum())
        assert hits <= high
        assert hits >= (low if ranks else 0)  # few distinct tables: the test is conservative


@pytest.mark.parametrize("slope", [0.7, 0.05])
def test_intervals_cover_what_is_there(slope):
    """Half-copied and nearly unrelated labels: the interval holds the value of 100,000 rows."""
    draw = rng(2)

    def pair(n):
        a = draw.normal(size=n)
        return a, slope * a + draw.normal(size=n)

    truth = spearmanr(*pair(100_000)).statistic
    inside = sum(
        low <= truth <= high
        for _, low, high, _ in (association(*pair(200), True, draw) for _ in range(40))
    )
    assert inside >= 32


@given(st.integers(0, 10**6), st.integers(2, 4))
@settings(max_examples=15)
def test_information_without_each_row(seed, classes):
    draw = rng(seed)
    a, b = draw.integers(0, classes, 15), draw.integers(0, 3, 15)
    expected = [normalized_mutual_info_score(np.delete(a, n), np.delete(b, n)) for n in range(15)]
    same = len(set(a)) == 1 or len(set(b)) == 1
    if not same:
        np.testing.assert_allclose(_information_without(a, b), expected, atol=1e-9)


@pytest.mark.parametrize(("classes", "copied"), [(2, 0.1), (2, 0.3), (8, 0.1), (8, 0.4)])
def test_intervals_cover_the_information_there_is(classes, copied):
    """Also where it is small against what chance adds: of eight classes 0.04, of two 0.002."""
    draw = rng(3)

    def pair(n):
        a = draw.integers(0, classes, n)
        return a, np.where(draw.random(n) < copied, a, draw.integers(0, classes, n))

    truth = normalized_mutual_info_score(*pair(400_000))
    inside = 0
    for _ in range(200):
        _, low, high = with_interval(*pair(300), False, draw)
        inside += low <= truth <= high
    assert inside >= 178  # 0.95 of 200, less four standard errors


def store(**labels):
    """Tasks ``t0 ..`` of the kinds named, with the labels given."""
    base = make_store(
        ("vector",), tuple(k for k, _ in labels.values()), 60, unlabelled=0.0, missing=0.0,
        derived={"t2": ("t0",)},
    )  # fmt: skip
    tensors = dict(base.tensors)
    for i, (_, y) in enumerate(labels.values()):
        old = tensors[f"y/t{i}"]
        tensors[f"y/t{i}"] = torch.as_tensor(y).to(old.dtype).reshape(old.shape)
        tensors[f"mask/t{i}"] = torch.ones(60, dtype=torch.uint8)
    return GraphStore(base.meta, tensors)


def test_the_graph_is_symmetric_and_leaves_derived_pairs_out():
    draw = rng(0)
    x = draw.normal(size=60)
    made = store(
        a=("regression", x), b=("multiclass", draw.integers(0, 3, 60)),
        c=("binary", x > 0), d=("regression", -x + 0.1 * draw.normal(size=60)),
    )  # fmt: skip
    made.tensors["mask/t3"][:10] = 0
    graph = estimate(None, made, made.rows(), 0)
    assert graph.symmetric
    assert graph.question == "labels go together"
    for matrix in (graph.value, graph.low, graph.high, graph.p_value, graph.n):
        np.testing.assert_array_equal(matrix, matrix.T)
    assert np.isnan(graph.value[0, 2])
    assert graph.derived[0, 2]
    assert not graph.derived[0, 3]
    assert graph.value[0, 3] > 0.95  # the sign of a correlation is no matter
    assert graph.significant[0, 3]
    assert not graph.significant[0, 1]
    assert graph.n[0, 3] == 50
    assert graph.n[0, 1] == 60
    again = estimate(None, made, made.rows(), 0)
    np.testing.assert_array_equal(graph.p_value, again.p_value)
    assert not np.array_equal(graph.p_value, estimate(None, made, made.rows(), 1).p_value)


def test_vectors_and_label_sets_become_one_number():
    draw = rng(0)
    x, other = draw.normal(size=60), draw.normal(size=60)
    bits = draw.integers(0, 2, (60, 3))
    made = store(
        a=("regression2", np.stack([10 * x, other], 1)), b=("regression", x**3),
        c=("multiclass", draw.integers(0, 3, 60)), d=("multilabel", bits),
        e=("binary", bits[:, 0]),
    )  # fmt: skip
    graph = estimate(None, made, made.rows(), 0)
    assert graph.value[0, 1] > 0.95  # the first principal axis of (10 x, other) is about x
    sets = bits @ np.array([1, 2, 4])
    expected = normalized_mutual_info_score(sets, bits[:, 0])
    assert graph.value[3, 4] == pytest.approx(expected, abs=1e-9)


def test_labels_that_are_missing_do_not_turn_the_principal_axis():
    """They are stored as 0, far from labels about 30: the axis would point there."""
    draw = rng(0)
    x = draw.normal(size=60)
    vector = np.stack([10 + 3 * x, 30 + 0.1 * draw.normal(size=60)], 1)
    missing = draw.random(60) < 0.3
    vector[missing] = 0
    made = store(a=("regression2", vector), b=("regression", x), c=("binary", x > 0))
    made.tensors["mask/t0"][torch.from_numpy(missing)] = 0
    assert estimate(None, made, made.rows(), 0).value[0, 1] > 0.99
    none = {**made.tensors, "mask/t0": torch.zeros(60, dtype=torch.uint8)}
    empty = GraphStore(made.meta, none)
    assert np.isnan(estimate(None, empty, empty.rows(), 0).value[0, 1])


def test_too_few_shared_labels_give_no_value():
    draw = rng(0)
    made = store(a=("regression", draw.normal(size=60)), b=("regression", draw.normal(size=60)),
                 c=("regression", draw.normal(size=60)))  # fmt: skip
    made.tensors["mask/t0"][2:] = 0
    graph = estimate(None, made, made.rows(), 0)
    assert np.isnan(graph.value[0, 1])
    assert graph.n[0, 1] == 2
