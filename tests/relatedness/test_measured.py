"""Groups by the fit to a few measured gains."""

from itertools import combinations

import numpy as np
import pytest
from small_runs import small_config, small_store

from gnnfusion.errors import UsageError
from gnnfusion.relatedness.estimators import transfer as module
from gnnfusion.relatedness.estimators.transfer import sample_groups
from gnnfusion.relatedness.measured import CANDIDATES, _candidates, group_by_measured
from gnnfusion.relatedness.transfer import Transfer
from gnnfusion.training.fit import train

TASKS = ("t0", "t1", "t2", "t3")
GROUPS = tuple(g for size in (2, 3, 4) for g in combinations(TASKS, size))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    store = small_store(folder / "store", ("regression", "binary", "regression", "multiclass"))
    return train(store, folder / "run", small_config(epochs=1), logs=False)


def measured_as(monkeypatch, gain, seen):
    """Instead of trainings: every task of every group gains as said, on validation rows alone."""

    def transfer_of(run, groups, **settings):
        seen.append({"groups": tuple(groups), **settings})
        members = np.array([[t in g for t in TASKS] for g in groups])
        losses = {s: np.where(members, 1 - g, np.nan)[None] for s, g in
                  (("valid", gain), ("test", -gain))}  # fmt: skip
        alone = np.ones((1, 4))
        return Transfer(
            tasks=TASKS, groups=tuple(groups), seeds=(0,), derived=np.zeros((4, 4), bool),
            seconds=1.0, alone={"valid": alone, "test": alone}, together=losses,
        )  # fmt: skip

    monkeypatch.setattr(module, "transfer_of", transfer_of)


@pytest.mark.parametrize(("gain", "groups"), [(0.2, 1), (-0.2, 4)])
def test_measured_gains_say_whether_company_is_worth_it(run, monkeypatch, gain, groups):
    seen = []
    measured_as(monkeypatch, gain, seen)
    found, measured = group_by_measured(run, 4, subsets=11, seeds=3, jobs=1, device="cpu")
    assert len(found.groups) == groups
    assert sorted(t for g in found.groups for t in g) == list(TASKS)
    assert found.value == pytest.approx(max(gain, 0), abs=0.03)
    assert found.method == "combined, 11 groups measured"
    assert set(found.weights) == set(TASKS)
    assert 0 <= found.error < 0.05
    assert set(measured.groups) == set(GROUPS)
    assert seen[0]["seeds"] == 3


def test_half_is_drawn_and_the_rest_is_what_is_known_the_least(run, monkeypatch):
    seen, said = [], []
    measured_as(monkeypatch, 0.1, seen)
    _, measured = group_by_measured(
        run, 4, subsets=7, seeds=2, device="cpu", say=lambda line, *_: said.append(line)
    )
    first, both = (settings["groups"] for settings in seen)
    assert list(first) == sample_groups(TASKS, 7)[:4]
    assert both[:4] == first  # so that these are not trained again
    assert len(set(both)) == 7
    assert measured.groups == both
    assert said == ["4 groups at random, then 3 of which least is known"]
    seen.clear()
    group_by_measured(run, 4, subsets=4, seeds=2, device="cpu")
    assert [settings["groups"] for settings in seen] == [first]
    assert group_by_measured(run, 4, subsets=7, seeds=2, device="cpu")[1].groups == both
    with pytest.raises(UsageError, match="4 tasks have 11 groups of these sizes, not 12"):
        group_by_measured(run, 4, subsets=12)


def test_of_many_tasks_some_groups_are_candidates():
    tasks = tuple(f"t{n}" for n in range(14))
    without = sample_groups(tasks, 20)
    found = _candidates(tasks, without)
    assert CANDIDATES - 20 <= len(set(found)) == len(found) <= CANDIDATES
    assert not {*found} & {*without}
    assert len(_candidates(TASKS, GROUPS[:3])) == 8


def test_no_group_tells_nothing(run):
    with pytest.raises(UsageError, match="at least 1 group must be measured, not 0"):
        group_by_measured(run, 2, subsets=0)
