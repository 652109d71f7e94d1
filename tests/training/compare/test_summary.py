"""Gains, paired differences and the sentence of a comparison, on made-up trials."""

from __future__ import annotations

import numpy as np
import pytest

from gnnfusion.schema import Task
from gnnfusion.training.compare.summary import (
    holm,
    main_metric,
    paired_difference,
    relative_gain,
    summarize,
)

TASKS = (
    Task(name="a", kind="binary", columns=("a",)),
    Task(name="b", kind="regression", columns=("b",)),
)


def test_gain_is_the_mean_of_relative_gains_with_the_sign_of_better():
    single = {"a": {"accuracy": 0.8}, "b": {"rmse": 2.0}}
    found = {"a": {"accuracy": 0.88}, "b": {"rmse": 1.8}}
    assert relative_gain(TASKS, found, single) == pytest.approx(10.0)
    assert relative_gain(TASKS, single, single) == 0
    assert np.isnan(relative_gain(TASKS, found, {}))
    assert [main_metric(t) for t in TASKS] == ["accuracy", "rmse"]


def test_differences_are_paired_over_samples():
    """Hard and easy rows, the same for both, widen nothing; a small steady gain is then seen."""
    rng = np.random.default_rng(0)
    rows = 10 * rng.random(200)
    noise = 0.02 * rng.standard_normal((2, 4, 200))
    value, low, high, p = paired_difference(rows + 0.1 + noise[0], rows + noise[1])
    assert p < 0.001
    assert value == pytest.approx(0.1, abs=0.01)
    assert 0.05 < low < value < high < 0.15


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.05, 0.5])
def test_equal_methods_are_told_apart_as_seldom_as_it_says(seeds, spread):
    """Whatever part of the noise is of rows and what of trainings; 600 draws, 3 errors of 5 %."""
    rng = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(600):
        rows, own = rng.standard_normal(100), 0.5 * rng.standard_normal((2, 1, 100))
        training = spread * rng.standard_normal((2, seeds, 1))
        single = 0.2 * rng.standard_normal((2, seeds, 100))
        _, low, high, p = paired_difference(*(rows + own + training + single))
        assert (p < 0.05) == (not low <= 0 <= high)
        wrong += p < 0.05
    assert wrong <= 600 * 0.05 + 3 * (600 * 0.05 * 0.95) ** 0.5


def test_a_real_difference_is_found_and_one_seed_speaks_of_its_rows_alone():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2, 3, 200)) + rng.standard_normal((2, 3, 1))
    wide = paired_difference(*rows)
    one = paired_difference(*rows[:, :1])
    assert wide.high - wide.low > 2 * (one.high - one.low)
    assert paired_difference(rows[0] + 20, rows[0]).p_value < 0.001
    assert np.isnan(one.p_value)
    assert paired_difference(rows[0], rows[0])[:3] != (0, 0, 0)  # seeds differ, if not here
    assert paired_difference(np.ones((2, 5)), np.ones((2, 5))) == (0, 0, 0, 1)


def test_p_values_are_adjusted_as_by_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def trial(score, shares, accuracy, rmse):
    return {
        "score": score, "sample_scores": list(shares), "parameters": 10, "seconds": 1.0,
        "metrics": {"test": {"a": {"accuracy": accuracy}, "b": {"rmse": rmse}}},
    }  # fmt: skip


def made(second, simple=0.5):
    rng = np.random.default_rng(2)
    rows = rng.random(100)
    finals = {
        "good+single+static": [trial(0.5, rows, 0.8, 1.0), trial(0.52, rows, 0.82, 1.0)],
        "other": [trial(0.6, rows + second, 0.7, 1.0), trial(0.6, rows + second, 0.7, 1.0)],
    }
    baselines = {"linear": {"a": {"accuracy": simple}, "b": {"rmse": 1.0}}}
    return summarize(TASKS, finals, baselines, "good+single+static")


def test_best_on_validation_comes_first_and_spreads_are_over_seeds():
    found = made(0.2)
    first = found["methods"][0]
    assert found["best"] == first["name"] == "good+single+static"
    assert first["valid_score"] == pytest.approx(0.51)
    assert first["valid_score_sd"] == pytest.approx(0.02 / 2**0.5)
    assert first["metrics"]["a"]["accuracy"] == pytest.approx([0.81, 0.02 / 2**0.5])
    assert first["gain"] == 0
    assert found["methods"][1]["gain"] == pytest.approx(100 * (0.7 / 0.81 - 1) / 2)


@pytest.mark.parametrize(
    ("second", "simple", "words"),
    [
        (0.2, 0.5, "no other method comes within its error"),
        (0.0, 0.5, "1 of 1 other methods cannot be told apart from it"),
        (-0.2, 0.5, "but on test other is better"),
        (0.2, 0.9, "the simple reader linear has a gain of +5.6 %"),
    ],
)
def test_the_verdict_is_honest_about_ties_and_losses(second, simple, words):
    assert words in made(second, simple)["verdict"]


def test_of_many_equal_methods_none_is_called_better_or_worse():
    """The one that is told apart at 5 % where eight are compared is likely luck."""
    rng = np.random.default_rng(4)
    rows = rng.random(50)
    alone = summarize(TASKS, {"a": [trial(0, rows, 1, 1)], "b": [trial(1, rows + 9, 1, 1)]}, {}, "")
    assert "one seed each says nothing of other trainings" in alone["verdict"]
    assert not alone["methods"][1]["apart"]
    claims = 0
    for _ in range(100):
        rows = rng.standard_normal(100)
        finals = {
            f"m{n}": [trial(n, rows + shift + 0.3 * rng.standard_normal(100), 0.8, 1.0)
                      for shift in 0.1 * rng.standard_normal(3)]
            for n in range(9)
        }  # fmt: skip
        found = summarize(TASKS, finals, {}, "")
        claims += any(m["apart"] for m in found["methods"])
        assert ("8 of 8" in found["verdict"]) == (not any(m["apart"] for m in found["methods"]))
    assert claims <= 12  # 5 % of 100, and three errors
