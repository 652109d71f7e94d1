"""Weights by cross-validation: they keep noise off the rest, and no test row is read for them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from small_runs import small_config, small_store

from gnnfusion import GraphStore
from gnnfusion.errors import RunError, UsageError
from gnnfusion.graphs.arrays import store_from_arrays
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.schema import Modality, Schema, Task
from gnnfusion.training.compare import compare as module
from gnnfusion.training.compare.compare import RESULT, WEIGHTS, compare
from gnnfusion.training.compare.config import WeightSearch
from gnnfusion.training.compare.plan import Candidate
from gnnfusion.training.compare.trial import load_trial, run_trial
from gnnfusion.training.compare.weights import SUFFIX, judge_weights, search_weights, weighable
from gnnfusion.training.groups import read_weights

NARROW = NetworkConfig(
    width=4, layers=1, heads=1, dropout=0.0, fusion="average", sharing="hard"
)  # fmt: skip


def narrow(**changes):
    return small_config(network=NARROW, batch_size=16, lr=0.01, evidence=0.0, seed=5, **changes)


def with_noise(rows=120, seed=3):
    """One task that the features tell, one of twelve classes that nothing tells."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 1, 12)).astype(np.float32)
    targets = {
        "signal": x[:, 0, :3].sum(1) + 0.3 * rng.normal(size=rows),
        "noise": rng.integers(0, 12, rows),
    }
    schema = Schema(
        table="t",
        modalities=(Modality(name="m", kind="array", columns="m"),),
        tasks=(Task(name="signal", kind="regression"), Task(name="noise", kind="multiclass")),
    )
    split = np.repeat([0, 1, 2], [rows * 3 // 5, rows // 5, rows // 5])
    return store_from_arrays(schema, {"m": x}, targets, split=split)


def one_by_one(store, folder, trials, counted=None):
    found = {}
    for trial in trials:
        before = load_trial(trial, folder)
        if before is None and counted is not None:
            counted.append(trial)
        found[trial.key] = before or run_trial(store, trial, folder)
    return found


def searched(store, config, folder, settings, counted=None):
    """The search, its trainings one after the other in this process."""

    def train(trials):
        return one_by_one(store, folder, trials, counted)

    method = Candidate(name="method", config=config)
    return search_weights(method, config, store.schema.tasks, settings, train)


def test_noise_with_a_large_loss_gets_less_weight_since_that_helps_the_other_task(tmp_path):
    found = searched(with_noise(), narrow(epochs=20), tmp_path, WeightSearch(folds=2))
    assert found["sampler"] == "grid"
    assert found["changed"]
    assert found["weights"]["noise"] < 1 < found["weights"]["signal"]
    assert found["score"] < found["own_score"]
    worst = max(found["candidates"], key=lambda c: c["score"])
    assert worst["weights"]["noise"] == max(c["weights"]["noise"] for c in found["candidates"])


def test_a_search_broken_off_goes_on_and_asks_the_same_of_all(tmp_path):
    store, config, trained = with_noise(), narrow(epochs=1), []
    few = searched(
        store, config, tmp_path, WeightSearch(candidates=2, sampler="random"), trained
    )  # fmt: skip
    assert [t.fold for t in trained] == [(0, 3), (1, 3), (2, 3)] * 2
    assert [bool(t.weights) for t in trained] == [False] * 3 + [True] * 3  # the schema's come first
    assert all(t.config == config and not t.final for t in trained)
    trained.clear()
    more = searched(store, config, tmp_path, WeightSearch(candidates=4, sampler="random"), trained)
    assert len(trained) == 6
    assert more["candidates"][:2] == few["candidates"]


def test_test_rows_are_never_read(tmp_path):
    """Neither labels nor features: with NaN in their place, every score is the same."""
    store, settings = with_noise(), WeightSearch(candidates=2, sampler="random", folds=2)
    test = store.rows("test")
    tensors = {name: store.tensors[name].clone() for name in store.tensors}
    tensors["y/signal"][test] = torch.nan
    tensors["x/m"][test] = torch.nan
    tensors["y/noise"][test] = -1
    blind = GraphStore(store.meta, tensors)
    one = searched(store, narrow(epochs=2), tmp_path / "one", settings)
    two = searched(blind, narrow(epochs=2), tmp_path / "two", settings)
    assert one["candidates"] == two["candidates"]
    assert one["failed"] is None


def test_without_time_for_the_schemas_weights_it_says_how_to_go_on():
    method = Candidate(name="method", config=narrow())
    with pytest.raises(RunError, match="call compare again, which goes on from here"):
        search_weights(
            method, method.config, with_noise().schema.tasks, WeightSearch(), lambda trials: {}
        )


def test_vectors_without_all_folds_do_not_take_part_and_failures_are_never_chosen():
    tasks, scores = with_noise().schema.tasks, {}

    def train(trials):
        for trial in trials[:-1]:  # time is up before the last
            heavy = trial.weights.get("noise", 1) > 1
            scores[trial.key] = {"failed": "it broke"} if heavy else {"score": 0.5}
        return scores

    method = Candidate(name="method", config=narrow())
    found = search_weights(method, method.config, tasks, WeightSearch(), train)
    assert len(found["candidates"]) == 4
    assert not found["changed"]  # of equals, the schema's own
    assert found["failed"] == "it broke"


def test_a_search_needs_two_tasks_and_a_method_with_static_weights():
    tasks, settings = with_noise().schema.tasks, WeightSearch()

    def method(**changes):
        return Candidate(name=str(changes), config=narrow(**changes))

    alone = Candidate(
        name="alone",
        config=small_config(evidence=0.0, network=NetworkConfig(fusion="concat", sharing="single")),
    )
    told, other = method(balancing="dwa"), method()
    assert weighable([alone, told, other], tasks, settings) is other
    with pytest.raises(UsageError, match="a method with balancing static"):
        weighable([alone, told], tasks, settings)
    with pytest.raises(UsageError, match="needs two tasks whose weight is not zero"):
        weighable([other], tasks[:1], settings)


def test_the_verdict_tells_better_from_tied():
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(3, 50))
    found = {"method": "m", "changed": True, "weights": {"a": 1.5, "b": 0.5}, "folds": 3,
             "candidates": [{}] * 5}  # fmt: skip

    def said(changed):
        finals = {
            name: [{"sample_scores": row} for row in values]
            for name, values in (("m", plain), ("m" + SUFFIX, changed))
        }
        return judge_weights(found, finals, "So.")["verdict"]

    better = said(plain - 2)
    assert better.startswith("So. Of 5 weight vectors in 3 folds, cross-validation prefers a 1.5")
    assert "which on test do better than" in better
    assert "do worse than" in said(plain + 2)
    assert "cannot be told apart from" in said(plain[::-1])
    plain = plain[:1]  # one seed says nothing of other trainings, however large the difference
    assert "cannot be told apart from" in said(plain - 2)
    kept = judge_weights({**found, "changed": False}, {}, "So.")
    assert kept["verdict"].endswith("finds none better than the schema's weights.")
    assert kept["weight_search"]["difference"] is None


def test_searched_weights_are_a_row_beside_the_schemas(tmp_path, monkeypatch):
    """With the same settings and seeds, in the table, the verdict and the files; found again."""
    trained = []
    monkeypatch.setattr(  # processes have a test of their own
        module, "run_all", lambda trials, folder, **_: one_by_one(store, folder, trials, trained)
    )
    store = small_store(tmp_path / "store")
    base = small_config(epochs=2, network=NetworkConfig(width=8, heads=4))
    settings = WeightSearch(candidates=3, folds=2, sampler="random")

    def run():
        return compare(
            store, tmp_path / "out", fusions=["average"], seeds=1, trials=1, base=base, jobs=2,
            weights=settings, baselines=(),
        )  # fmt: skip

    found = run()
    search, names = found["weight_search"], {m["name"] for m in found["methods"]}
    assert len(search["candidates"]) == 3
    assert search["changed"] == ("average+auto+static" + SUFFIX in names)
    assert search["changed"], "this seed finds others; else the row below is not tested"
    with_weights = found["settings"]["average+auto+static" + SUFFIX]
    assert with_weights == found["settings"]["average+auto+static"]
    assert "Of 3 weight vectors in 2 folds, cross-validation prefers" in found["verdict"]
    assert search["low"] <= search["difference"] <= search["high"]
    assert read_weights(tmp_path / "out" / WEIGHTS) == search["weights"]
    assert json.loads((tmp_path / "out" / RESULT).read_text())["weight_search"] == search
    trials = [json.loads(p.read_text()) for p in (tmp_path / "out" / "trials").glob("*.json")]
    assert sum(t["fold"] is not None for t in trials) == 6
    assert not any("metrics" in t for t in trials if t["fold"] is not None)
    assert len(trained) == 6 + 3  # the method, the control and the row with weights
    assert run()["methods"] == found["methods"]
    assert len(trained) == 9, "called again it trains nothing"
