"""Estimators against gains that are known."""

import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import small_config, small_store

from gnnfusion.errors import UsageError
from gnnfusion.relatedness import estimate_all, validation
from gnnfusion.relatedness.agreement import (
    COMPANY,
    company,
    from_mean,
    predicted_gains,
    spearman,
    z_pearson,
)
from gnnfusion.relatedness.estimators import METHODS
from gnnfusion.relatedness.task_graph import QUESTIONS, TaskGraph
from gnnfusion.relatedness.transfer import Transfer
from gnnfusion.relatedness.validation import judge, validate
from gnnfusion.training.fit import train

TASKS = ("a", "b", "c", "d", "e", "f")
PAIRS = tuple(combinations(TASKS, 2))


def measured(affinity, noise=0.01, seeds=4, groups=PAIRS):
    """Transfer whose gains are what the affinity predicts, up to noise."""
    tasks = TASKS[: len(affinity)]
    rng, members = np.random.default_rng(1), np.array([[t in g for t in tasks] for g in groups])
    others = members.sum(1, keepdims=True) - 1
    losses = 1 - company(affinity, members) * (others + COMPANY) / others + noise * rng.normal(
        size=(seeds, len(groups), len(tasks))
    )  # fmt: skip
    return Transfer(
        tasks=tasks, groups=groups, seeds=tuple(range(seeds)),
        alone={"test": np.ones((seeds, len(tasks)))}, together={"test": losses},
        derived=np.zeros(affinity.shape, bool), seconds=1.0,
    )  # fmt: skip


def graph(value, method="cka"):
    nothing, tasks = np.full(value.shape, np.nan), TASKS[: len(value)]
    return TaskGraph(tasks=tasks, method=method, question=QUESTIONS[2], value=value, low=nothing,
                     high=nothing, p_value=nothing, n=5)  # fmt: skip


@pytest.fixture
def affinity():
    return np.random.default_rng(0).normal(0, 0.1, (6, 6))


def test_company_adds_up_and_each_further_member_adds_less():
    value = np.arange(36.0).reshape(6, 6)
    value[2, 1] = np.nan
    members = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 0, 0]], bool)
    found = company(value, members)
    assert found[0, 1] == value[0, 1] / (1 + COMPANY)
    assert found[1, 0] == value[[1, 2, 3], 0].sum() / (3 + COMPANY)
    assert found[1, 1] == value[[0, 3], 1].sum() / (2 + COMPANY)  # 2 to 1 is not known
    assert np.isnan(found[2, 1])
    assert np.isnan(found[0, 2:]).all()
    more = np.array([[t <= n for t in range(6)] for n in range(1, 6)])
    alike = company(np.ones((6, 6)), more)[:, 0]
    assert (np.diff(alike) > 0).all()
    assert (np.diff(alike, 2) < 0).all()


@given(st.integers(0, 10**6))
def test_only_what_sets_a_targets_sources_apart_predicts_its_gains(seed):
    rng = np.random.default_rng(seed)
    value, members = rng.normal(size=(6, 6)), rng.random((9, 6)) < 0.5
    value[rng.random((6, 6)) < 0.1] = np.nan
    found = predicted_gains(value, members)
    np.testing.assert_allclose(predicted_gains(value + rng.normal(size=6), members), found,
                               atol=1e-12)  # fmt: skip
    everyone = predicted_gains(value, np.ones((1, 6), bool))[0]
    np.testing.assert_allclose(everyone[np.isfinite(everyone)], 0, atol=1e-12)


def test_whether_directions_count_alike_does_not_depend_on_the_unit_or_on_gaps():
    value = np.random.default_rng(0).normal(size=(6, 6))
    for scale in (1e-12, 1.0, 1e9):
        assert np.abs(np.nanmean(from_mean(scale * value), axis=0)).max() < 1e-9 * scale
        both = value + value.T
        both[2, 3] = np.nan
        assert np.abs(np.nanmean(from_mean(scale * both))) < 1e-9 * scale
        assert np.abs(np.nanmean(from_mean(scale * both), axis=0)).max() > 0.1 * scale


@given(st.integers(0, 10**6))
def test_a_task_like_no_other_is_worse_off_the_more_there_are(seed):
    value = np.random.default_rng(seed).uniform(0.5, 1, size=(6, 6))
    value += value.T
    value[5] = value[:, 5] = 0.1
    value[2, 3] = value[3, 2] = np.nan
    members = np.array([[t >= 5 - n for t in range(6)] for n in range(1, 6)])
    found = predicted_gains(value, members)[:, 5]
    assert (found < 0).all()
    assert (np.diff(found) < 0).all()
    order = np.random.default_rng(seed).permutation(6)
    np.testing.assert_allclose(
        predicted_gains(value[order][:, order], members[:, order])[:, np.argsort(order)],
        predicted_gains(value, members), atol=1e-12,
    )  # fmt: skip


def test_a_right_prediction_reaches_the_ceiling_and_a_wrong_one_does_not(affinity):
    truth = measured(affinity)
    other = np.random.default_rng(5).normal(size=(6, 6))
    graphs = {"rsa": graph(other, "rsa"), "cka": graph(affinity)}
    found = judge(truth, graphs, {"rsa": 1.0, "cka": 2.0}, {"attention": "has none"})
    assert [v.method for v in found.verdicts] == ["cka", "rsa"]  # the best first
    best, worst = found.verdicts
    assert best.z_pearson > 0.97
    assert best.z_pearson <= found.ceiling["z_pearson"] + 0.02
    assert best.qap_p == pytest.approx(1 / 720)  # of all orders only this one agrees so well
    assert best.grouping == pytest.approx(1, abs=0.02)
    assert worst.z_pearson < 0.6
    assert worst.qap_p > 0.01
    members = truth.members
    assert best.spearman == float(spearman(predicted_gains(affinity, members), truth.gains()))
    assert best.z_pearson == float(z_pearson(predicted_gains(affinity, members), truth.gains()))
    assert found.conclusion.startswith("cka agrees best with the measured gains, by 1.00 of at")
    assert found.conclusion.endswith("(p = 0.001, adjusted for the choice among 2)")


def test_what_cannot_be_relied_on_is_concluded(affinity):
    graphs, seconds = {"cka": graph(affinity)}, {"cka": 1.0}
    one = judge(measured(affinity, seeds=1), graphs, seconds, {})
    assert np.isnan(one.ceiling["z_pearson"])
    assert "add --seeds" in one.conclusion
    noisy = judge(measured(0 * affinity, noise=1.0), graphs, seconds, {})
    assert "measured too unreliably" in noisy.conclusion
    wrong = judge(measured(-affinity), graphs, seconds, {})
    assert "no estimator is shown to predict gains" in wrong.conclusion


def test_the_best_of_many_that_mean_nothing_is_seldom_recommended(monkeypatch):
    """Of eight estimators that are noise, the best by its own p-value would be in a third."""
    monkeypatch.setattr(validation, "oracle_share", lambda *_: 0.0)  # takes most of the time
    rng, found, groups = np.random.default_rng(0), [], tuple(combinations(TASKS[:5], 3))
    names = ("cka", "rsa", "gradient", "labels", "residuals", "evidence", "ablation", "linearized")
    for _ in range(200):
        truth = measured(rng.normal(0, 0.1, (5, 5)), groups=groups)
        graphs = {m: graph(rng.normal(size=(5, 5)), m) for m in names}
        found.append(judge(truth, graphs, dict.fromkeys(names, 1.0), {}))
    assert min(f.truth.reliability() for f in found) > 0.5
    assert np.mean(["agrees best" in f.conclusion for f in found]) <= 0.08
    assert all("the best of 8" in f.conclusion or "among 8" in f.conclusion for f in found)


def test_only_what_changes_order_within_a_target_counts(affinity):
    truth = measured(affinity)
    shifted = 7 * affinity + np.arange(6.0)  # another level and unit for each target
    pair = [judge(truth, {"cka": graph(v)}, {"cka": 1.0}, {}).verdicts[0]
            for v in (affinity, shifted)]  # fmt: skip
    assert pair[0].z_pearson == pytest.approx(pair[1].z_pearson)
    assert pair[0].spearman == pytest.approx(pair[1].spearman)


def test_what_is_written_names_every_estimator(affinity, tmp_path):
    found = judge(measured(affinity), {"cka": graph(affinity)}, {"cka": 1.5}, {"rsa": "why"})
    found.to_json(tmp_path / "v.json")
    written = json.loads((tmp_path / "v.json").read_text())
    assert written["estimators"]["cka"]["question"] == METHODS["cka"].question
    assert written["estimators"]["cka"]["seconds"] == 1.5
    assert written["left_out"] == {"rsa": "why"}
    assert written["reliability"] == pytest.approx(found.truth.reliability())
    assert len(written["gains"]) == 15


def test_a_run_is_validated_and_what_it_lacks_is_named(tmp_path, monkeypatch):
    tasks = ("regression", "binary", "regression", "multiclass")
    store = small_store(tmp_path / "store", tasks)
    run = train(store, tmp_path / "run", small_config(epochs=1, evidence=0.0), logs=False)
    asked = []

    def transfer_of(run, **settings):
        asked.append(settings)
        names = store.schema.task_names
        groups = tuple(combinations(names, 2))
        rng = np.random.default_rng(0)
        members = np.array([[t in g for t in names] for g in groups])
        return Transfer(
            tasks=names, groups=groups, seeds=(0, 1), derived=np.zeros((4, 4), bool), seconds=1.0,
            alone={"test": np.ones((2, 4))},
            together={"test": np.where(members, rng.normal(size=(2, 6, 4)), np.nan)},
        )  # fmt: skip

    from gnnfusion.relatedness.estimators import transfer

    monkeypatch.setattr(transfer, "transfer_of", transfer_of)
    seen = []
    original = estimate_all.estimate_run

    def recorded(run, store, method, rows, *settings):
        graph = original(run, store, method, rows, *settings)
        seen.append((method, rows))
        return graph

    monkeypatch.setattr(estimate_all, "estimate_run", recorded)
    found = validate(run, methods=["labels", "evidence", "cka"], seeds=2, device="cpu")
    assert asked[0]["seeds"] == 2
    assert {v.method for v in found.verdicts} == {"labels", "cka"}
    assert "trained with evidence 0" in found.left_out["evidence"]
    assert not found.same_rows
    assert [method for method, _ in seen] == ["labels", "cka"]
    for method, rows in seen:  # nothing of the rows that gains are measured on
        splits = ("train", "valid") if method == "labels" else ("valid",)
        assert sorted(rows.tolist()) == store.rows(*splits).tolist()
    with pytest.raises(UsageError, match="no task would be in 3 groups"):
        validate(run, subsets=2)
