"""Weight vectors: one for each ratio, the same again when called again."""

from __future__ import annotations

import numpy as np
import pytest

from gnnfusion.errors import MissingExtraError, UsageError
from gnnfusion.training.compare import proposals
from gnnfusion.training.compare.config import WeightSearch
from gnnfusion.training.compare.proposals import BATCH, REACH, draws, explore, grid, scaled

TASKS = ("a", "b", "c")
EQUAL = {"a": 1.0, "b": 1.0, "c": 1.0}


def far_from(best):
    """Scores by the distance of log ratios from the best, and how often it was asked."""
    asked = []

    def score(vectors):
        asked.append(len(vectors))
        logs = [np.log([w["a"] / w["b"], w["b"] / w["c"]]) for w in vectors]
        return [float(np.square(log - np.log(best)).sum()) for log in logs]

    return score, asked


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_grid_has_every_ratio_once(count):
    found = grid([f"t{n}" for n in range(count)])
    assert len(found) == 3**count - 2**count
    ratios = {tuple(np.round(np.array([*w.values()]) / w["t0"], 2)) for w in found}
    assert len(ratios) == len(found)
    assert all(np.mean([*w.values()]) == pytest.approx(1, abs=1e-3) for w in found)


def test_more_draws_go_on_from_fewer_and_stay_within_reach():
    found = draws(TASKS, 50, 3)
    assert found[:20] == draws(TASKS, 20, 3) != draws(TASKS, 20, 4)
    for weights in found:
        assert np.mean([*weights.values()]) == pytest.approx(1, abs=1e-3)
        assert max(weights.values()) / min(weights.values()) <= 1.01 * REACH**2
    # Neither way is favoured.
    assert abs(np.mean([np.log(w["a"] / w["b"]) for w in found])) < 0.6


@pytest.mark.parametrize("sampler", ["grid", "random", "optuna"])
def test_the_schemas_weights_and_equal_ones_are_always_tried_first(sampler):
    if sampler == "optuna":
        pytest.importorskip("optuna")
    own = scaled({"a": 1.0, "b": 5.0, "c": 20.0})
    score, _ = far_from([1, 1])
    tried = explore(own, sampler, 20, score, 0)
    assert [w for w, _ in tried[:2]] == [own, EQUAL]
    assert len(tried) == 20
    assert len({tuple(w.values()) for w, _ in tried}) == 20
    assert [w for w, _ in explore(EQUAL, sampler, 5, score, 0)].count(EQUAL) == 1


def test_optuna_learns_from_scores_and_makes_the_same_proposals_again():
    pytest.importorskip("optuna")
    score, asked = far_from([4, 0.5])
    tried = explore(EQUAL, "optuna", 41, score, 0)
    assert asked == [1, *[BATCH] * 10]
    assert tried == explore(EQUAL, "optuna", 41, score, 0)
    values = [value for _, value in tried]
    assert np.median(values[-20:]) < 0.5 * np.median(values[1:21])


def test_optuna_ends_where_time_does_and_lives_with_failures():
    pytest.importorskip("optuna")
    times = iter([[1.0], [0.5, np.inf, 2.0, 0.7], [0.3, 0.2, None, None]])
    tried = explore(EQUAL, "optuna", 30, lambda vectors: next(times), 0)
    assert [v for _, v in tried] == [1.0, 0.5, np.inf, 2.0, 0.7, 0.3, 0.2, None, None]


def test_a_sampler_is_chosen_by_size_and_what_is_installed(monkeypatch):
    def chosen(sampler, tasks, there):
        monkeypatch.setattr(proposals.importlib.util, "find_spec", lambda name: there or None)
        return proposals.sampler_of(WeightSearch(candidates=20, sampler=sampler), tasks)

    assert chosen("auto", TASKS, True) == "grid"
    assert chosen("auto", (*TASKS, "d"), True) == "optuna"
    assert chosen("auto", (*TASKS, "d"), False) == "random"
    with pytest.raises(UsageError, match="the grid over 4 tasks has 66 weight vectors"):
        chosen("grid", (*TASKS, "d"), False)
    with pytest.raises(MissingExtraError, match=r"pip install 'gnnfusion\[search\]'"):
        chosen("optuna", TASKS, False)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"candidates": 1}, "weights.candidates must be at least 2, not 1"),
        ({"folds": 1}, "weights.folds must be at least 2, not 1"),
        ({"sampler": "best"}, "unknown weights.sampler 'best'; use one of auto, grid"),
    ],
)
def test_bad_settings_are_explained(values, words):
    with pytest.raises(UsageError, match=words):
        WeightSearch(**values)
