import numpy as np
import pytest
from scipy.stats import kstest

from gnnfusion.relatedness import monte_carlo
from gnnfusion.relatedness.paired import FLIPS, flip_tests, paired_gain, paired_gains


def test_a_gain_is_the_relative_fall_of_the_mean():
    rng = np.random.default_rng(0)
    before = rng.random(200) + 1
    after = before - 0.5 + 0.1 * rng.normal(size=200)
    value, low, high, p_value = paired_gain(before, after, rng)
    assert value == pytest.approx((before - after).mean() / before.mean())
    assert low < value < high
    assert p_value == pytest.approx(1 / (FLIPS + 1))
    worse, *_, p_value = paired_gain(after, before, rng)
    assert worse < 0
    assert p_value > 0.99


def test_no_change_is_no_finding():
    before = np.random.default_rng(0).random(50)
    value, low, high, p_value = paired_gain(before, before.copy(), np.random.default_rng(1))
    assert (value, low, high, p_value) == (0, 0, 0, 1)


def test_p_values_are_uniform_without_an_effect():
    """Symmetric differences, where the sign-flip test is exact; skewed losses, small samples."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        base = rng.exponential(size=30)
        change = rng.normal(size=30) * base
        found.append(paired_gain(base, base + change, rng)[3])
    assert kstest(found, "uniform").pvalue > 1e-3
    assert np.mean(np.array(found) <= 0.05) < 0.1


def test_intervals_cover_the_true_gain():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(60):
        base = 1 + rng.random(80)  # mean 1.5
        after = base - 0.3 + 0.5 * rng.normal(size=80)
        _, low, high, _ = paired_gain(base, after, rng)
        inside += low <= 0.3 / 1.5 <= high
    assert inside >= 50


def test_columns_are_as_if_alone(monkeypatch):
    """With the same draws; samples that a column lacks change nothing of its value and p-value."""
    rng = np.random.default_rng(0)
    before = rng.exponential(size=(40, 3))
    after = before * rng.uniform(0.7, 1.2, (40, 3))
    before[:10, 1] = after[30:, 2] = np.nan
    value, low, high = paired_gains(before, after, np.random.default_rng(1))
    p_value = flip_tests(before, after, np.random.default_rng(1))
    for place in range(3):
        known = np.isfinite(before[:, place]) & np.isfinite(after[:, place])
        a, b = before[known, place], after[known, place]
        assert value[place] == pytest.approx((a.mean() - b.mean()) / a.mean())
        *_, alone = paired_gain(a, b, np.random.default_rng(2))
        assert p_value[place] == pytest.approx(
            alone, abs=4 * (alone * (1 - alone) / 5000) ** 0.5 + 1e-3
        )
    assert (low < value).all()
    assert (value < high).all()
    monkeypatch.setattr(monte_carlo, "HELD", 40 * 2000)
    again, *_ = paired_gains(before, after, np.random.default_rng(1))
    np.testing.assert_allclose(again, value)  # other chunks, other draws
    again = flip_tests(before, after, np.random.default_rng(1))
    np.testing.assert_allclose(again, p_value, atol=0.02)


def test_fewer_than_two_samples_say_nothing():
    before = np.array([[1.0, 1.0], [2.0, np.nan]])
    columns, rng = (before, before - 0.5), np.random.default_rng(0)
    found = (*paired_gains(*columns, rng), flip_tests(*columns, rng))
    assert np.isfinite([x[0] for x in found]).all()
    assert np.isnan([x[1] for x in found]).all()
