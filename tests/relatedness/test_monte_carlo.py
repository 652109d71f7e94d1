"""p-values whose floor is low enough for findings, and which keep their meaning."""

import numpy as np
import pytest
import torch
from random_stores import make_network, make_store

from gnnfusion.graphs.store import GraphStore
from gnnfusion.relatedness.estimators import labels, residuals
from gnnfusion.relatedness.monte_carlo import p_values, pieces
from gnnfusion.relatedness.paired import flip_tests
from gnnfusion.relatedness.task_graph import TaskGraph


def harmonic(tests):
    return sum(1 / n for n in range(1, tests + 1))


def test_the_floor_is_low_enough_for_those_on_it():
    asked = []

    def further(places, draws):
        asked.append((list(places), draws))
        return np.zeros(len(places))

    reached = np.full(66, 50.0)
    reached[[3, 7]] = 0
    reached[9] = np.nan
    found = p_values(reached, 500, further)
    (places, draws) = asked[0]
    assert places == [3, 7]
    assert len(asked) == 1
    assert found[3] == 1 / (500 + draws + 1)
    adjusted = found[3] * 65 * harmonic(65) / 2  # of two tests on the floor
    assert adjusted == pytest.approx(0.025, rel=1e-3)
    assert found[0] == 51 / 501
    assert np.isnan(found[9])


def test_who_leaves_the_floor_keeps_all_draws_and_the_others_go_on():
    found = p_values(np.array([0.0, 0.0] + [9.0] * 98), 10, lambda at, _: (at == 0).astype(float))
    assert found[0] > found[1] > 0
    assert found[1] * 100 * harmonic(100) <= 0.05


def test_few_tests_are_not_drawn_further():
    def further(places, draws):
        raise AssertionError

    assert p_values(np.zeros(1), 5000, further)[0] == 1 / 5001
    assert p_values(np.array([0.0] + [9.0] * 44), 5000, further)[0] == 1 / 5001  # ten tasks
    assert p_values(np.ones(300), 10, further).tolist() == [2 / 11] * 300


def test_p_values_keep_their_meaning():
    """Statistics drawn from the null as the draws are: P(p <= a) <= a, also beyond the floor."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        share = rng.random(50)  # of draws that reach the statistic: uniform, as under any null
        found.append(
            p_values(
                rng.binomial(20, share), 20, lambda at, n, s=share: rng.binomial(n, s[at])
            )
        )  # fmt: skip
    found = np.concatenate(found)
    for alpha in (0.001, 0.005, 0.02, 0.05, 0.2):
        spread = (alpha * (1 - alpha) / len(found)) ** 0.5
        assert (found <= alpha).mean() <= alpha + 4 * spread
    assert (found <= 0.005).mean() > 0.003


def test_pieces_are_all_the_draws():
    assert pieces(10, 3, 9) == [3, 3, 3, 1]
    assert sum(pieces(7, 100, 9)) == 7


def copies(count):
    """So many tasks of noise, of which the second is a copy of the first."""
    store = make_store(("vector",), ("regression",) * count, 80, unlabelled=0.0, missing=0.0)
    changed = {f"mask/t{t}": torch.ones(80, dtype=torch.uint8) for t in range(count)}
    changed["y/t1"] = store.target("t0")
    return GraphStore(store.meta, {**store.tensors, **changed})


@pytest.mark.parametrize(("module", "count"), [(labels, 12), (residuals, 17)])
def test_a_copy_among_many_tasks_is_a_finding(module, count):
    store = copies(count)
    graph = module.estimate(make_network(store), store, store.rows(), 0)
    assert graph.significant[0, 1]
    assert graph.significant[1, 0]


def test_a_fall_among_the_pairs_of_many_tasks_is_a_finding():
    rng, tasks = np.random.default_rng(0), 12
    before = rng.random((80, tasks * (tasks - 1))) + 1
    after = before + rng.normal(size=before.shape)
    after[:, 0] = before[:, 0] - 0.5
    p = np.full((tasks, tasks), np.nan)
    p[~np.eye(tasks, dtype=bool)] = flip_tests(before, after, rng)
    graph = TaskGraph(
        tasks=tuple(map(str, range(tasks))), method="evidence",
        question="label i informs j beyond the features", value=p, low=p, high=p, p_value=p, n=80,
    )  # fmt: skip
    assert graph.significant.sum() == 1
    assert graph.significant[0, 1]
