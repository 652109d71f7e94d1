import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from gnnfusion.errors import UsageError
from gnnfusion.relatedness import grouping
from gnnfusion.relatedness.grouping import (
    affinity,
    best_split,
    group_tasks,
    group_value,
    oracle_share,
    split_value,
    task_weights,
)
from gnnfusion.relatedness.task_graph import TaskGraph

seeds = st.integers(0, 10**6)


def random_affinity(seed, tasks=6, gaps=0.2):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(tasks, tasks))
    a[rng.random(a.shape) < gaps] = np.nan
    return a


def partitions(items):
    """Every split of a list into groups."""
    if not items:
        yield []
        return
    first, *rest = items
    for split in partitions(rest):
        yield [[first], *split]
        for place in range(len(split)):
            yield [*split[:place], [first, *split[place]], *split[place + 1 :]]


def planted(tasks, groups, seed=0):
    """Tasks of a group help each other by 1, others harm by 0.2, with some noise."""
    labels = np.arange(tasks) % groups
    rng = np.random.default_rng(seed)
    a = np.where(labels[:, None] == labels, 1.0, -0.2)
    return a + 0.1 * rng.normal(size=a.shape), labels


def test_there_are_as_many_splits_as_bell_says():
    assert [sum(1 for _ in partitions(list(range(n)))) for n in range(1, 7)] == [
        1, 2, 5, 15, 52, 203,
    ]  # fmt: skip


def test_the_worth_of_a_group_is_the_mean_of_what_the_others_are_worth_to_each():
    a = np.array([[9, 1, 2], [3, 9, np.nan], [5, 7, 9]], float)
    assert group_value(a, [0, 1, 2]) == pytest.approx((3 + 5) / 2 + (1 + 7) / 2 + 2)
    assert group_value(a, [1, 2]) == 7
    assert group_value(a, [1]) == 0
    assert split_value(a, [(0,), (1, 2)]) == pytest.approx(7 / 3)


@given(seeds, st.integers(1, 6), st.sampled_from([3, 5, 6]))
@settings(max_examples=25, deadline=None)
def test_no_split_is_worth_more(seed, most, tasks):
    a = random_affinity(seed, tasks)
    split = best_split(a, most)
    assert sorted(t for group in split for t in group) == list(range(tasks))
    assert len(split) <= most
    best = max(
        split_value(a, other) for other in partitions(list(range(tasks))) if len(other) <= most
    )
    assert split_value(a, split) == pytest.approx(best)


@given(seeds, st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_groups_do_not_depend_on_the_order_or_the_unit(seed, most):
    a = random_affinity(seed, gaps=0)
    order = np.random.default_rng(seed).permutation(6)
    split = {frozenset(g) for g in best_split(a, most)}
    turned = best_split(a[np.ix_(order, order)], most)
    assert {frozenset(order[list(g)].tolist()) for g in turned} == split
    assert {frozenset(g) for g in best_split(7 * a, most)} == split


def test_the_number_of_groups_is_the_least_that_is_worth_it():
    a = planted(6, 2)[0].round()
    assert best_split(a, 6) == best_split(a, 2) == ((0, 2, 4), (1, 3, 5))
    assert best_split(np.full((4, 4), np.nan), 3) == ((0, 1, 2, 3),)
    assert best_split(-np.ones((4, 4)), 4) == ((0,), (1,), (2,), (3,))
    assert best_split(np.ones((1, 1)), 2) == ((0,),)
    assert len(best_split(-np.ones((4, 4)), 2)) == 2


def test_a_task_that_harms_stays_alone():
    a = np.full((5, 5), 0.5)
    a[4] = a[:, 4] = -1
    assert best_split(a, 3) == ((0, 1, 2, 3), (4,))


@pytest.mark.parametrize("tasks", [12, 15, 24])
def test_planted_groups_are_found_among_many_tasks(tasks):
    a, labels = planted(tasks, 3)
    found = best_split(a, 3)  # with more, noise would split them further
    assert [sorted(set(labels[list(g)])) for g in found] == [[0], [1], [2]]


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_searching_comes_close_to_the_best(seed):
    a = random_affinity(seed, 7)
    worth = partial(grouping._group_values, a)
    best = split_value(a, grouping._as_groups(grouping._exact(worth, 7, 3)))
    found = split_value(a, grouping._as_groups(grouping._searched(worth, a, 3, 0)))
    assert found <= best + 1e-9
    assert found >= 0.8 * best


@pytest.mark.parametrize("tasks", [6, 14])
def test_groups_may_be_worth_anything(tasks):
    """Only pairs are worth something here, where the affinity would have groups of all sizes."""
    half = tasks // 2

    def worth(groups):
        return np.array([
            1.0 if len(g) == 2 and g[1] - g[0] == half else -0.1 * (len(g) - 1) for g in groups
        ])  # fmt: skip

    found = best_split(planted(tasks, half)[0], half, worth=worth)
    assert found == tuple((t, t + half) for t in range(half))


def test_shares_of_the_oracle():
    a, _ = planted(6, 2)
    assert oracle_share(a, a, 2) == 1
    assert oracle_share(3 * a, a, 2) == 1
    assert oracle_share(-a, a, 2) < 0.5
    assert np.isnan(oracle_share(a, -np.abs(a), 6))


def test_weights_rise_with_what_a_task_gives_the_others():
    a = np.array([[0, 1, 1], [0, 0, 0], [-1, -1, 0]], float)
    np.testing.assert_allclose(task_weights(a), [1.5, 1, 0.5])
    np.testing.assert_allclose(task_weights(9 * a), task_weights(a))
    np.testing.assert_allclose(task_weights(np.zeros((3, 3))), 1)
    found = task_weights(random_affinity(3))
    assert found.mean() == pytest.approx(1)
    assert found.min() > 0


def test_groups_of_a_graph_count_from_what_is_not_related(tmp_path):
    """Attention of 1 is no preference: with values below it, all tasks are better off alone."""
    value = np.array([[0, 1.5, 0.8], [1.5, 0, 0.8], [0.8, 0.8, 0]])
    graph = TaskGraph(
        tasks=("a", "b", "c"), method="attention", value=value, low=value, high=value,
        question="label i informs j beyond the features", p_value=value * np.nan, n=9, null=1.0,
    )  # fmt: skip
    found = group_tasks(graph, 3)
    assert found.groups == (("a", "b"), ("c",))
    assert found.value == pytest.approx(1 / 3)
    found.to_json(tmp_path / "groups.json")
    written = json.loads((tmp_path / "groups.json").read_text())
    assert written["groups"] == [["a", "b"], ["c"]]
    assert (written["method"], written["question"]) == ("attention", graph.question)
    assert set(written["weights"]) == {"a", "b", "c"}


def labels_graph(y):
    """Absolute correlations of the columns of ``[n, T]``, tested, as of the method labels."""
    found = [[pearsonr(a, b) if a is not b else (1.0, 1.0) for b in y.T] for a in y.T]
    value, p_value = np.abs(np.array(found)).transpose(2, 0, 1)
    return TaskGraph(
        tasks=tuple(f"t{n}" for n in range(y.shape[1])), method="labels", value=value, low=value,
        high=value, question="labels go together", p_value=p_value, n=len(y), symmetric=True,
    )  # fmt: skip


def test_company_by_chance_is_worse_than_none():
    """Absolute correlations of independent labels are above 0, and worth nothing."""
    rng, alone = np.random.default_rng(0), 0
    for _ in range(50):
        y = rng.normal(size=(60, 8))
        found = group_tasks(labels_graph(y), 8)
        alone += len(found.groups) == 8
        y[:, 5] = y[:, 2] + 0.5 * rng.normal(size=60)
        assert {"t2", "t5"} in [set(g) for g in group_tasks(labels_graph(y), 8).groups]
    assert alone >= 48
    assert found.value == 0
    graph = labels_graph(y)
    np.testing.assert_allclose(affinity(replace(graph, value=7 * graph.value)), 7 * affinity(graph))
    # Measured gains are no such values: 0 is what they are of company that changes nothing.
    gains = replace(graph, method="transfer", question="training with i helps j")
    np.testing.assert_array_equal(affinity(gains), graph.value)


def test_where_only_the_order_means_something_values_count_from_their_mean():
    value = np.full((5, 5), 0.2)  # all above 0: by size alone nobody would be left out
    value[0, 1] = value[1, 0] = value[2, 3] = value[3, 2] = 0.9
    value[4, 2] = value[2, 4] = 0.25  # the most that e is like any, and less than most pairs are
    graph = TaskGraph(
        tasks=tuple("abcde"), method="cka", value=value, low=value, high=value, ranks_only=True,
        question="training with i helps j", p_value=value * np.nan, n=9,
    )  # fmt: skip
    assert group_tasks(graph, 5).groups == (("a", "b"), ("c", "d"), ("e",))
    assert np.nanmean(affinity(graph)) == pytest.approx(0)
    # Where directions differ, a value may be in its target's unit, and nothing compares targets.
    value[4, 2] = 0.26
    found = affinity(replace(graph, value=value))
    np.testing.assert_allclose(np.nanmean(found, axis=0), 0, atol=1e-12)
    in_units = affinity(replace(graph, value=value * [1, 10, 3, 2, 7]))
    np.testing.assert_allclose(in_units, found * [1, 10, 3, 2, 7], atol=1e-12)


def test_what_cannot_be_split_is_said():
    nothing = replace(labels_graph(np.random.default_rng(0).normal(size=(9, 3))),
                      value=np.full((3, 3), np.nan))  # fmt: skip
    with pytest.raises(UsageError, match="no pair can be estimated, so there is nothing to split"):
        group_tasks(nothing, 2)
    with pytest.raises(UsageError, match="the number of groups must be at least 1, not 0"):
        best_split(np.ones((3, 3)), 0)
    with pytest.raises(UsageError, match=r"an affinity must be \[T, T\], not \[3, 2\]"):
        best_split(np.ones((3, 2)), 1)
