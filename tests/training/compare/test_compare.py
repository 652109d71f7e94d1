"""A whole comparison on a small store: fair, resumable, and never near test while it searches."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from small_runs import small_config, small_store

from gnnfusion import GraphStore
from gnnfusion.errors import RunError, UsageError
from gnnfusion.graphs.views import with_labels_of, with_missing, with_weights
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.show import comparison_rows
from gnnfusion.training.compare import compare as module
from gnnfusion.training.compare.compare import RESULT, compare
from gnnfusion.training.compare.plan import Trial
from gnnfusion.training.compare.trial import load_trial, run_trial
from gnnfusion.training.evaluate import evaluate, loss_table
from gnnfusion.training.fit import fit

SMALL = small_config(epochs=2, network=NetworkConfig(width=8, heads=4))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("compare") / "store")


@pytest.fixture(scope="module")
def result(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "out"
    lines = []
    found = compare(
        store, out, fusions=["average", "gcn"], seeds=2, trials=2, base=SMALL, jobs=1,
        say=lambda line, done, total: lines.append((line, done, total)),
    )  # fmt: skip
    return out, found, lines


def test_every_method_has_the_same_trials_and_seeds(result):
    out, found, lines = result
    names = {m["name"] for m in found["methods"]}
    assert names == {
        "average+auto+static", "gcn+auto+static", "average+single+static",
        "gcn+auto+static+hidden_labels",
    }  # fmt: skip
    assert (found["trials"], found["seeds"]) == (2, 2)
    assert [line[1:] for line in lines] == [(n, 8) for n in range(1, 9)] * 2
    assert set(found["baselines"]) == {"linear", "boosting"}
    assert json.loads((out / RESULT).read_text())["best"] == found["best"]


def test_search_never_scores_test(result):
    out, _, _ = result
    trials = [json.loads(p.read_text()) for p in (out / "trials").glob("*.json")]
    assert len(trials) == 16
    searched = [t for t in trials if t["config"]["max_seconds"] > 0]
    assert len(searched) == 8
    assert not any("metrics" in t or "sample_scores" in t for t in searched)


def test_called_again_it_trains_nothing(store, result, monkeypatch):
    out, found, _ = result
    before = {p.name: p.stat().st_mtime_ns for p in (out / "trials").iterdir()}
    monkeypatch.setattr("gnnfusion.training.compare.trial.run_trial", None)
    again = compare(store, out, fusions=["average", "gcn"], seeds=2, trials=2, base=SMALL)
    assert {p.name: p.stat().st_mtime_ns for p in (out / "trials").iterdir()} == before
    assert again["methods"] == found["methods"]


def test_processes_find_the_same(store, tmp_path):
    """Even where the threads of each are other ones: the results are of the same numbers."""
    asked = {"fusions": ["average"], "seeds": 1, "trials": 1, "base": SMALL, "baselines": []}
    here, there = (compare(store, tmp_path / str(jobs), jobs=jobs, **asked) for jobs in (1, 2))
    for ours, theirs in zip(here["methods"], there["methods"], strict=True):
        assert ours["name"] == theirs["name"]
        assert ours["test_score"] == pytest.approx(theirs["test_score"], rel=1e-5)


def test_a_single_setting_is_taken_without_a_search_and_readers_are_fitted_once(
    store, result, tmp_path, monkeypatch
):
    _, before, _ = result
    asked = {"fusions": ["average"], "seeds": 1, "trials": 1, "base": SMALL, "jobs": 1}
    found = compare(store, tmp_path, **asked)
    trials = [json.loads(p.read_text()) for p in (tmp_path / "trials").glob("*.json")]
    assert len(trials) == len(found["methods"]) == 2
    assert all("metrics" in t and not t["config"]["max_seconds"] for t in trials)
    assert found["settings"] == {m["name"]: {} for m in found["methods"]}
    linear = found["baselines"]["linear"]["metrics"]
    assert linear == before["baselines"]["linear"]["metrics"]
    monkeypatch.setattr("gnnfusion.training.compare.compare.baseline", None)
    assert compare(store, tmp_path, **asked)["baselines"] == found["baselines"]


def test_a_final_trial_is_the_training_it_names(store, tmp_path):
    """Its scores are those of the network that `fit` gives."""
    trial = Trial(candidate="x", config=SMALL, final=True)
    found = run_trial(store, trial, tmp_path)
    network, keeper = fit(store, SMALL, None)
    assert found["score"] == keeper.best_score
    assert found["metrics"] == evaluate(network, store, given=False)["split"]
    ratio = found["sample_scores"]
    assert len(ratio) == len(store.rows("test"))
    assert np.mean(ratio) < 1.5
    assert load_trial(trial, tmp_path) == json.loads(json.dumps(found))


def test_a_method_that_fails_is_left_out_with_the_reason(store, tmp_path):
    broken = small_config(epochs=1, lr=1e30, clip=1e30)
    trial = Trial(candidate="x", config=broken, final=False)
    found = run_trial(store, trial, tmp_path)
    assert found["failed"].startswith("no epoch ended with a finite validation loss")
    assert load_trial(trial, tmp_path) is None  # so that it is tried again, mended


def test_a_network_whose_test_losses_are_not_finite_is_left_out(store, tmp_path, monkeypatch):
    def diverged(network, store, rows):
        losses = loss_table(network, store, rows)
        losses[:, 0] = np.nan
        return losses

    monkeypatch.setattr("gnnfusion.training.compare.trial.loss_table", diverged)
    found = run_trial(store, Trial(candidate="x", config=SMALL, final=True), tmp_path)
    assert found["failed"].startswith("a test loss is not finite")


def test_a_task_without_test_labels_is_a_gap_in_the_table(store, tmp_path):
    """Methods and simple readers are compared on the others."""
    unlabelled = torch.zeros(len(store), 3, dtype=torch.bool)
    unlabelled[store.rows("test"), 1] = True
    asked = {"fusions": ["average"], "seeds": 1, "trials": 1, "base": SMALL, "jobs": 1}
    found = compare(with_missing(store, unlabelled), tmp_path, baselines=["linear"], **asked)
    assert set(found["baselines"]) == {"linear"}
    head, rows = comparison_rows(found)
    place = head.index("t1 accuracy")
    assert [row[place] for row in rows] == [""] * 3
    assert all("0." in row[place + 1] for row in rows)


def test_a_budget_that_is_too_small_says_how_to_go_on(store, tmp_path):
    with pytest.raises(RunError, match="start again, which goes on from here"):
        compare(store, tmp_path, base=SMALL, seeds=1, trials=1, budget=0.0)


def test_a_budget_compares_on_what_all_methods_have():
    found = {("a", 0): {}, ("b", 0): {}, ("a", 1): {}, ("b", 1): None, ("a", 2): {}, ("b", 2): {}}
    methods = [type("C", (), {"name": n})() for n in "ab"]
    assert module._all_have(found, methods, 3, "x") == 1


def test_counts_below_one_are_refused(store, tmp_path):
    with pytest.raises(UsageError, match="at least 1"):
        compare(store, tmp_path, seeds=0)
    assert os.listdir(tmp_path) == []


def test_a_store_seen_otherwise_is_trained_on_as_it_is_seen(store, tmp_path, monkeypatch):
    """Processes open a folder: not that of the store which was weighed, relabelled or resplit."""
    opened = []
    monkeypatch.setattr(module, "run_all", lambda trials, store, **_: opened.append(store) or {})

    def at(store, out):
        with pytest.raises(RunError, match="the budget ended"):
            compare(store, out, fusions=["average"], base=SMALL)
        return GraphStore.open(opened[-1])

    assert at(store, tmp_path / "a").path == store.path
    weighed = at(with_weights(store, {"t0": 3.0}), tmp_path / "b")
    assert [t.weight for t in weighed.schema.tasks] == [3.0, 1.0, 1.0]
    assert not at(with_labels_of(store, ["t0"]), tmp_path / "c").masks[:, 1:].any()
    assert len(at(GraphStore(store.meta, store.tensors), tmp_path / "d")) == len(store)
    with pytest.raises(UsageError, match="holds trainings on other data; name another folder"):
        compare(store, tmp_path / "b", fusions=["average"], base=SMALL)
