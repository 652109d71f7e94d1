import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, pearsonr, spearmanr
from sklearn.metrics import roc_auc_score

from gnnfusion.relatedness.agreement import (
    auroc,
    qap_of_best,
    qap_p,
    spearman,
    split_half,
    z_pearson,
)

both = pytest.mark.parametrize("statistic", [spearman, z_pearson])


def matrices(seed, tasks=6, rows=None, gaps=0.2, ties=False):
    """Two matrices that agree somewhat, the diagonal and some entries missing."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(rows or tasks, tasks))
    b = a + rng.normal(size=a.shape)
    if ties:
        a, b = a.round(), b.round()
    for x in (a, b):
        x[rng.random(x.shape) < gaps] = np.nan
        if rows is None:
            np.fill_diagonal(x, np.nan)
    return a, b


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=40)
def test_agreement_is_the_mean_of_correlations_within_targets(seed, ties):
    a, b = matrices(seed, ties=ties, rows=7)
    ranks, plain, sizes = [], [], []
    for x, y in zip(a.T, b.T, strict=True):
        kept = np.isfinite(x) & np.isfinite(y)
        x, y = x[kept], y[kept]
        if len(x) >= 3 and np.ptp(x) > 0 and np.ptp(y) > 0:
            ranks.append(spearmanr(x, y).statistic)
            plain.append(pearsonr(x, y).statistic)
            sizes.append(len(x))
    if not sizes:
        assert np.isnan(spearman(a, b))
        return
    assert spearman(a, b) == pytest.approx(np.mean(ranks))
    assert z_pearson(a, b) == pytest.approx(np.average(plain, weights=sizes))


def test_standardized_within_targets_and_pooled():
    """Large differences between targets, which any predictor of difficulty would meet, are out."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 8, 5))
    z = [(x - x.mean(0)) / x.std(0) for x in (a, b)]
    expected = pearsonr(z[0].ravel(), z[1].ravel()).statistic
    far = 100 * np.arange(5)
    assert z_pearson(a + far, b + far) == pytest.approx(expected)
    assert pearsonr((a + far).ravel(), (b + far).ravel()).statistic > 0.99


@both
def test_known_cases(statistic):
    a, _ = matrices(0)
    assert statistic(a, a) == pytest.approx(1)
    assert statistic(-a, a) == pytest.approx(-1)
    assert statistic(3 * a + 5, a) == pytest.approx(1)
    assert np.isnan(
        statistic(np.full_like(a, 0.1), a)
    )  # values that are all the same order nothing
    assert np.isnan(statistic(a[:2], a[:2]))
    assert np.isnan(statistic(np.full_like(a, np.nan), a))
    assert spearman(np.exp(a), a) == pytest.approx(1)


@both
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_agreement_does_not_depend_on_the_order_of_tasks(statistic, seed):
    a, b = matrices(seed)
    order = np.random.default_rng(seed).permutation(6)
    turned = np.ix_(order, order)
    np.testing.assert_allclose(statistic(a[turned], b[turned]), statistic(a, b))


@both
def test_many_at_once_are_each_alone(statistic):
    cases = [matrices(seed) for seed in range(4)]
    together = statistic(np.stack([a for a, _ in cases]), np.stack([b for _, b in cases]))
    np.testing.assert_allclose(together, [statistic(a, b) for a, b in cases])


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=20)
def test_the_area_is_that_of_scikit_learn(seed, ties):
    a, _ = matrices(seed, ties=ties)
    related = np.random.default_rng(seed).random((6, 6)) < 0.4
    kept = np.isfinite(a)
    if len(set(related[kept].tolist())) < 2:
        assert np.isnan(auroc(a, related))
        return
    assert auroc(a, related) == pytest.approx(roc_auc_score(related[kept], a[kept]))


def test_the_area_counts_the_pairs_that_are_asked_for():
    related = np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0]], bool)
    value = np.array([[9, 3, 1], [3, 9, 2], [1, 2, 9]], float)  # the diagonal never counts
    assert auroc(value, related) == 0.5
    hard = np.zeros((3, 3), bool)
    hard[0, 1] = hard[1, 2] = True
    assert auroc(value, related, hard) == 1
    assert np.isnan(auroc(value, np.zeros((3, 3), bool)))


@pytest.mark.parametrize("tasks", [5, 8])
def test_p_values_are_uniform_under_the_null(tasks):
    """Row and column effects, which make entries depend on each other, and gaps: no agreement."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(300):
        a, b = (
            rng.normal(size=(tasks, tasks))
            + 2 * rng.normal(size=(tasks, 1)) + rng.normal(size=tasks)
            for _ in range(2)
        )  # fmt: skip
        np.fill_diagonal(a, np.nan)
        np.fill_diagonal(b, np.nan)
        found.append(qap_p(a, b, draws=400, seed=seed))
    assert kstest(found, "uniform").pvalue > 1e-3
    assert 0.02 < np.mean(np.array(found) <= 0.05) < 0.09
    # Shuffled one by one, entries would be taken for 20 or 56 independent ones.


def test_p_values_count_that_the_best_was_picked():
    rng = np.random.default_rng(0)
    smallest = []
    for seed in range(300):
        truth, common = rng.normal(size=(2, 5, 5))
        several = [rng.normal(size=(5, 5)) + common for _ in range(6)]  # alike to each other
        found = qap_of_best(several, truth)
        alone = np.array([qap_p(p, truth) for p in several]) if seed < 10 else found
        assert (found >= alone).all()
        smallest.append(found.min())
    assert kstest(smallest, "uniform").pvalue > 1e-3
    nothing = np.full((5, 5), np.nan)
    found = qap_of_best([several[0], nothing], truth)
    assert found[0] == qap_p(several[0], truth)
    assert np.isnan(found[1])
    assert np.isnan(qap_of_best([nothing], truth)).all()


@both
def test_p_values_of_what_agrees_are_small(statistic):
    a, b = matrices(1, tasks=8, gaps=0)
    assert qap_p(a, b, statistic, draws=2000) < 0.01
    assert qap_p(-a, b, statistic, draws=2000) > 0.9
    assert np.isnan(qap_p(np.full((8, 8), np.nan), b, statistic))
    assert qap_p(a, a, statistic, draws=999) == pytest.approx(1 / 1000)


def test_all_orders_of_few_tasks_are_tried():
    a, _ = matrices(2, tasks=5, gaps=0)
    assert qap_p(a, a) == pytest.approx(1 / 120)
    assert qap_p(a, a, seed=1) == qap_p(a, a, seed=2)


@pytest.mark.parametrize("seeds", [2, 5, 6, 12])
def test_reliability_is_the_share_of_variance_that_is_signal(seeds):
    """Mean of S values, signal 1, noise s^2 each: reliability 1 / (1 + s^2 / S)."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(400, 6))
    values = signal + 1.5 * rng.normal(size=(seeds, 400, 6))
    expected = 1 / (1 + 1.5**2 / seeds)
    assert split_half(values) == pytest.approx(expected, abs=0.03)
    noise = rng.normal(size=(seeds, 400, 6))
    assert abs(split_half(noise)) < 0.06


def test_reliability_needs_two_seeds_and_is_blind_to_what_targets_share():
    a, _ = matrices(0, rows=5, gaps=0)
    assert np.isnan(split_half(a[None]))
    assert split_half(np.stack([a, a])) == pytest.approx(1)
    assert split_half(np.stack([a, -a])) == pytest.approx(-1)
    lifted = np.stack([a, a]) + np.random.default_rng(0).normal(size=(2, 1, a.shape[1]))
    assert split_half(lifted) == pytest.approx(1)  # a seed that was bad for a target alone
