"""Groups by the fit to a few measured gains."""

from itertools import combinations

import numpy as np
import pytest
from small_runs import small_config, small_store

from gnnfusion.errors import UsageError
from gnnfusion.relatedness.estimators import transfer as module
from gnnfusion.relatedness.measured import group_by_measured
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
    members = np.array([[t in g for t in TASKS] for g in GROUPS])

    def losses(gain):
        return np.where(members, 1 - gain, np.nan)[None]

    def transfer_of(run, **settings):
        seen.append(settings)
        alone = np.ones((1, 4))
        return Transfer(
            tasks=TASKS, groups=GROUPS, seeds=(0,), derived=np.zeros((4, 4), bool), seconds=1.0,
            alone={"valid": alone, "test": alone},
            together={"valid": losses(gain), "test": losses(-gain)},
        )  # fmt: skip

    monkeypatch.setattr(module, "transfer_of", transfer_of)


@pytest.mark.parametrize(("gain", "groups"), [(0.2, 1), (-0.2, 4)])
def test_measured_gains_say_whether_company_is_worth_it(run, monkeypatch, gain, groups):
    seen = []
    measured_as(monkeypatch, gain, seen)
    found = group_by_measured(run, 4, subsets=11, seeds=3, jobs=1, device="cpu")
    assert len(found.groups) == groups
    assert sorted(t for g in found.groups for t in g) == list(TASKS)
    assert found.value == pytest.approx(max(gain, 0), abs=0.03)
    assert found.method == "combined, 11 groups measured"
    assert set(found.weights) == set(TASKS)
    assert (seen[0]["subsets"], seen[0]["seeds"]) == (11, 3)


def test_no_group_tells_nothing(run):
    with pytest.raises(UsageError, match="at least 1 group must be measured, not 0"):
        group_by_measured(run, 2, subsets=0)
