"""What a comparison trains: the same draws for all, keys that find finished trials again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from random_stores import make_store

from gnnfusion.errors import MissingExtraError, UsageError
from gnnfusion.training.compare.plan import (
    DROPOUTS,
    LR,
    WIDTHS,
    Trial,
    candidates,
    control_name,
    draws,
    with_settings,
)
from gnnfusion.training.config import TrainConfig

BASE = TrainConfig(epochs=3, evidence=0.7, refit=True)


def test_single_tasks_take_no_groups():
    """The groups are of the settings that all share; a network a task has its own."""
    store = make_store(tasks=("regression", "binary"), samples=12)
    grouped = replace(BASE, network=replace(BASE.network, groups=(("t0", "t1"),)))
    found, _ = candidates(store, grouped, ["average"], ["auto", "single"], ["static"])
    groups = {c.name: c.config.network.groups for c in found}
    assert groups == {"average+auto+static": (("t0", "t1"),), "average+single+static": ()}
    with pytest.raises(UsageError, match="sharing 'single' has a group for every task"):
        replace(grouped.network, sharing="single")


def test_a_solver_that_is_missing_is_known_before_anything_is_trained(store, monkeypatch):
    def missing(name, weights):
        raise MissingExtraError("upgrad", "quadprog", "balancing")

    monkeypatch.setattr("gnnfusion.training.compare.plan.make_balancer", missing)
    with pytest.raises(UsageError, match=r"nothing is left to compare: .*quadprog"):
        candidates(store, BASE, ["average"], ["auto"], ["upgrad"])


@pytest.fixture(scope="module")
def store():
    return make_store(samples=12, missing=0.1)


def test_the_grid_the_control_and_one_row_with_hidden_labels(store):
    found, left_out = candidates(
        store, BASE, ["concat", "gatv2"], ["hard", "task_nodes"], ["static", "dwa"]
    )
    names = [c.name for c in found]
    assert len(names) == len(set(names)) == 6 + 1 + 1
    assert control_name(["concat", "gatv2"], found) == "concat+single+static" in names
    assert set(left_out) == {"concat+task_nodes+static", "concat+task_nodes+dwa"}
    assert all("task nodes" in reason for reason in left_out.values())
    told = [c for c in found if c.config.evidence > 0]
    assert [c.name for c in told] == ["gatv2+task_nodes+static+hidden_labels"]
    assert not any(c.config.refit for c in found)


def test_a_name_that_does_not_exist_is_refused_not_left_out(store):
    for place, name in enumerate(("transfomer", "shared", "scales")):
        grid = [["gatv2"], ["auto"], ["static"]]
        grid[place] = [*grid[place], name]
        with pytest.raises(UsageError, match=f"unknown .* {name!r}"):
            candidates(store, BASE, *grid)


def test_the_control_is_of_the_first_fusion_that_fits():
    wide = make_store(("vector",) * 8, samples=12)
    found, left_out = candidates(wide, BASE, ["tensor", "average"], ["auto"], ["static"])
    assert set(left_out) == {"tensor+auto+static"}
    assert control_name(["tensor", "average"], found) == "average+single+static"
    assert [c.name for c in found] == ["average+auto+static", "average+single+static"]


def test_nothing_left_is_said(store):
    with pytest.raises(UsageError, match="nothing is left to compare"):
        candidates(store, replace(BASE, network=replace(BASE.network, width=30)), ["gatv2"],
                   ["task_nodes"], ["static"])  # fmt: skip


def test_draws_are_within_their_ranges_and_begin_with_the_defaults():
    found = draws(40, 3)
    assert found == draws(40, 3)
    assert found[:5] == draws(5, 3)  # more trials go on from fewer
    assert found[0] == {}
    for settings in found[1:]:
        assert LR[0] * 0.95 <= settings["lr"] <= LR[1] * 1.05
        assert settings["network"]["width"] in WIDTHS
        assert settings["network"]["dropout"] in DROPOUTS
    assert len({s["lr"] for s in found[1:]}) > 20


def test_settings_go_where_they_belong():
    config = with_settings(BASE, {"lr": 0.5, "network": {"width": 96}})
    assert (config.lr, config.network.width) == (0.5, 96)
    assert config.network == replace(BASE.network, width=96)
    assert with_settings(BASE, {}) == BASE


def test_a_key_is_of_the_settings_alone():
    trial = Trial(candidate="a", config=BASE, final=False)
    assert trial.key == Trial(candidate="b", config=replace(BASE), final=False).key
    assert trial.key != replace(trial, final=True).key
    assert trial.key != replace(trial, config=replace(BASE, seed=1)).key
