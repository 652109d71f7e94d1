import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_stores import make_store
from scipy.stats import binom, entropy, norm, spearmanr
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from gnnfusion.graphs.store import GraphStore
from gnnfusion.relatedness import monte_carlo
from gnnfusion.relatedness.estimators.labels import (
    DRAWS,
    _adjusted,
    _resampled,
    _squares_without,
    _table,
    association,
    estimate,
    reached,
    with_interval,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def value(a, b, ranks=False):
    return with_interval(np.asarray(a), np.asarray(b), ranks, rng())[0]


def most(a, b):
    return min(entropy(np.unique(y, return_counts=True)[1]) for y in (a, b))


def coefficient(a, b, adjusted=True):
    """By other people's mutual information and its expectation."""
    information, top = mutual_info_score(a, b), most(a, b)
    if adjusted:
        chance = expected_mutual_information(contingency_matrix(a, b, sparse=True), len(a))
        information = max(0, top * (information - chance) / (top - chance))
    return np.sqrt((1 - np.exp(-2 * information)) / (1 - np.exp(-2 * top)))


def normal_pair(draw, n, slope):
    x = draw.normal(size=n)
    return x, slope * x + np.sqrt(1 - slope**2) * draw.normal(size=n)


def copied_pair(draw, n, shape, copied):
    """Classes of which the first is partly told by the second."""
    a, b = draw.integers(0, shape[0], n), draw.integers(0, shape[1], n)
    return a, np.where(draw.random(n) < copied, a % shape[1], b)


def coefficient_of(joint):
    """The coefficient of a table of probabilities."""
    rows, columns = joint.sum(1), joint.sum(0)
    information = entropy(rows) + entropy(columns) - entropy(joint.ravel())
    squares = [1 - np.exp(-2 * i) for i in (information, min(entropy(rows), entropy(columns)))]
    return np.sqrt(max(0.0, squares[0] / squares[1])) if information > 1e-9 else 0.0


@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 5), st.floats(0, 1))
@settings(max_examples=25)
def test_classes_have_the_information_coefficient(seed, p, q, copied):
    draw = rng(seed)
    a, b = copied_pair(draw, 60, (p, q), copied)
    if len(set(a)) == 1 or len(set(b)) == 1:
        return
    found, low, high, p_value = association(a, b, False, rng())
    assert found == pytest.approx(coefficient(a, b), abs=1e-6)
    assert np.isnan(low) == np.isnan(high)
    assert np.isnan(low) or 0 <= low <= found <= high <= 1
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
    assert found == pytest.approx(coefficient(a, bins), abs=1e-6)


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
def test_squares_without_each_row(seed, classes):
    draw = rng(seed)
    a, b = copied_pair(draw, 15, (classes, 3), 0.5)
    a, b = (np.unique(y, return_inverse=True)[1] for y in (a, b))
    expected = []
    for n in range(15):
        rest = np.delete(a, n), np.delete(b, n)
        expected.append(coefficient(*rest, adjusted=False) ** 2 if most(*rest) > 0 else 0)
    np.testing.assert_allclose(_squares_without(a, b, _table(a, b)), expected, atol=1e-9)


def test_unrelated_labels_have_what_they_would_have_on_average_over_permutations():
    """Before it is cut off at 0, information without chance has mean 0."""
    draw = rng(4)
    a, b = draw.integers(0, 6, 40), draw.integers(0, 4, 40) ** 2 // 3
    shuffled = [mutual_info_score(a, draw.permutation(b)) for _ in range(300)]
    found, chance, top = mutual_info_score(a, b), np.mean(shuffled), most(a, b)
    expected = max(0.0, top * (found - chance) / (top - chance))
    assert _adjusted(contingency_matrix(a, b)) == pytest.approx((expected, top), abs=0.02)
    copy = np.where(draw.random(40) < 0.5, a, b)
    assert 0 < _adjusted(contingency_matrix(a, copy))[0] < mutual_info_score(a, copy)


@given(st.integers(0, 10**6), st.integers(2, 30), st.floats(0, 1))
@settings(max_examples=15)
def test_names_of_classes_and_the_order_of_the_labels_do_not_matter(seed, classes, copied):
    draw = rng(seed)
    a, b = copied_pair(draw, 80, (classes, 4), copied)
    found = value(a, b)
    assert value(draw.permutation(classes)[a] * 7 - 3, 5 - b) == pytest.approx(found, abs=1e-6)
    assert value(b, a) == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 30])
def test_a_label_that_tells_the_other_has_1(classes):
    a = np.arange(300) % classes
    assert value(a, a) == pytest.approx(1)
    assert value(a, a % 2) == pytest.approx(1)


def test_independent_labels_of_many_classes_have_about_0():
    """30 classes each in 200 rows: normalized information was 0.45, its interval never held 0."""
    draw = rng(5)
    found = [with_interval(*draw.integers(0, 30, (2, 200)), False, draw) for _ in range(40)]
    assert np.mean([f[0] for f in found]) < 0.15
    assert np.mean([f[0] == 0 for f in found]) > 0.25
    assert np.isnan(found).all(0).tolist() == [False, True, True]


@pytest.mark.parametrize("slope", [0.0, 0.3, -0.6, 0.9])
def test_it_is_the_correlation_of_two_normal_numbers(slope):
    """Cut into 30 classes each, of 400,000 rows, which takes 0.003 of it."""
    pair = normal_pair(rng(6), 400_000, slope)
    cut = [np.searchsorted(norm.ppf(np.arange(1, 30) / 30), y) for y in pair]
    assert value(*cut) == pytest.approx(abs(slope), abs=0.01)


def test_a_class_and_a_number_stand_on_one_scale_with_two_numbers():
    """A closer source comes first, also where it is a class and the other a number."""
    draw = rng(7)
    for _ in range(5):
        y, near = normal_pair(draw, 1000, 0.71)
        far = 0.3 * y + np.sqrt(1 - 0.3**2) * draw.normal(size=1000)
        near_class, far_number = value(y, (near > 0).astype(int)), value(y, far, True)
        assert far_number + 0.1 < near_class < 0.71


def binary_and_quintiles(slope):
    """Probabilities of the sign of one normal number and the quintile of another."""
    x = norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    ends = (norm.ppf(np.arange(6) / 5)[None] - slope * x[:, None]) / np.sqrt(1 - slope**2)
    return np.diff(norm.cdf(ends), axis=1).reshape(2, -1, 5).mean(1) / 2


@pytest.mark.parametrize("copied", [0, 0.1, 0.3, 0.7])
@pytest.mark.parametrize(
    ("shape", "n"), [((2, 2), 100), ((2, 2), 400), ((3, 4), 400), ((5, 5), 400), ((2, 5), 400)]
)
def test_intervals_cover_the_information_there_is(shape, n, copied):
    """At least 93 % in 5 x 5 and smaller tables, of 150 each: a bound at 1 in 10,000."""
    draw, inside = rng(3), 0
    joint = np.full(shape, (1 - copied) / np.prod(shape))
    np.add.at(joint, (np.arange(shape[0]), np.arange(shape[0]) % shape[1]), copied / shape[0])
    truth = coefficient_of(joint)
    if shape == (2, 5):
        truth = coefficient_of(binary_and_quintiles(copied))
    for _ in range(150):
        if shape == (2, 5):
            x, y = normal_pair(draw, n, copied)
            _, low, high = with_interval(x > 0, y, False, draw)
        else:
            flat = draw.choice(joint.size, n, p=joint.ravel())
            _, low, high = with_interval(*np.unravel_index(flat, shape), False, draw)
        inside += low <= truth <= high
    assert inside >= binom.ppf(1e-4, 150, 0.93)


def test_sparse_tables_have_no_interval():
    """Independent labels would have fewer than five rows in some cell."""
    draw = rng(8)
    a = np.arange(100) % 5
    assert np.isnan(with_interval(a, draw.permutation(a), False, draw)[1:]).all()
    rare = (np.arange(100) < 9).astype(int)
    half = np.arange(100) % 2
    found, low, high = with_interval(rare, half, False, draw)
    assert 0 <= found < 0.3
    assert np.isnan([low, high]).all()
    rare[9] = 1
    assert np.isfinite(with_interval(rare, half, False, draw)).all()


def test_equal_and_opposite_numbers_have_exactly_one():
    for seed in range(50):
        a = rng(seed).normal(size=40)
        for b in (a, -a):
            assert with_interval(a, b, True, rng()) == pytest.approx((1, 1, 1), abs=1e-12)
            assert with_interval(a, b, True, rng())[0] <= 1


@pytest.mark.parametrize("ranks", [True, False])
def test_memory_is_bounded_and_changes_no_number(ranks, monkeypatch):
    draw = rng(9)
    a, b = normal_pair(draw, 60, 0.3)
    b = b if ranks else (b > 0).astype(int)
    whole = association(a, b, ranks, rng())
    sizes = []

    def seen(*arguments):
        sizes.extend(found := monte_carlo.pieces(*arguments, most=60 * 7))
        return found

    monkeypatch.setattr("gnnfusion.relatedness.estimators.labels.pieces", seen)
    assert association(a, b, ranks, rng()) == whole
    assert max(sizes) == 7
    if ranks:
        picks = rng().integers(0, 60, (DRAWS, 60))
        expected = [np.corrcoef(a[p], b[p])[0, 1] for p in picks]
        np.testing.assert_allclose(_resampled(a, b, rng()), expected, atol=1e-9)


def test_the_tables_of_many_classes_are_held_a_few_at_a_time(monkeypatch):
    sizes = []

    def seen(draws, size):
        sizes.append(size)
        return monte_carlo.pieces(draws, size)

    monkeypatch.setattr("gnnfusion.relatedness.estimators.labels.pieces", seen)
    reached(np.arange(50), np.arange(50) % 25, False, 10, rng())
    assert sizes == [50 * 25]


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
    assert graph.value[3, 4] == pytest.approx(coefficient(sets, bits[:, 0]), abs=1e-6)


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
