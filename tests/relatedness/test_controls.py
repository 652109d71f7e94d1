"""Controls: what they compare with, and what comes out where the answer is known."""

import json

import numpy as np
import pytest
import torch
from random_stores import make_network, make_store
from small_runs import small_config, small_store

from gnnfusion.relatedness import controls
from gnnfusion.relatedness.agreement import spearman
from gnnfusion.relatedness.combined import SINGLE_TRAINING, combine
from gnnfusion.relatedness.estimators import evidence, labels
from gnnfusion.relatedness.estimators.ablation import estimate_ablation_total, total_rise
from gnnfusion.relatedness.relate import estimate, relate, rows_for
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.fit import train
from gnnfusion.training.run import Run

TASKS = ("regression", "binary", "multiclass", "regression", "ordinal")


@pytest.fixture(scope="module")
def store():
    return make_store(("vector", "tokens"), TASKS, samples=40, derived={"t3": ("t0",)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls")
    train(small_store(folder / "store", TASKS), folder / "run", small_config(epochs=1), logs=False)
    return folder


def test_seeds_agree_by_the_mean_of_their_pairs():
    value = np.random.default_rng(0).normal(size=(5, 5))
    same = controls.seed_agreement(np.stack([value, 3 * value + 1]))
    assert same["seeds"]["value"] == pytest.approx(1)
    mixed = controls.seed_agreement(np.stack([value, value, -value]))  # 1, -1, -1
    assert mixed["seeds"]["value"] == pytest.approx(-1 / 3)
    assert controls.seed_agreement(value[None]) == {}
    assert controls.seed_agreement(np.zeros((4, 3, 3))) == {}  # no target has three sources


def test_a_ranking_that_untrained_weights_have_is_not_learned():
    value = np.random.default_rng(0).normal(size=(5, 5))
    kept = controls.weights_randomized(value, value**3, 0)["random_weights"]
    assert kept["value"] == pytest.approx(1)
    assert kept["p_value"] == pytest.approx(1 / 120)  # of all orders of five tasks one
    assert not kept["passed"]
    assert kept["sentence"].endswith("some of the ranking is there before training")
    flat = controls.weights_randomized(value, np.ones((5, 5)), 0)["random_weights"]
    assert flat["passed"]
    assert "no ranking" in flat["sentence"]


def correlated(tasks, wanted, seed=0):
    """Values of pairs, and others whose rank correlation with them is about as wanted."""
    rng = np.random.default_rng(seed)
    value = rng.normal(size=(tasks, tasks))
    found = [wanted * value + (1 - wanted**2) ** 0.5 * rng.normal(size=value.shape)
             for _ in range(200)]  # fmt: skip
    return value, min(found, key=lambda bare: abs(spearman(value, bare) - wanted))


def test_what_is_not_significant_is_not_said_to_be_absent():
    """Of four tasks a correlation of 0.6 is seldom significant; that shows nothing either way."""
    open_, low = (
        controls.weights_randomized(*correlated(4, wanted), 0)["random_weights"]
        for wanted in (0.6, 0.0)
    )
    assert open_["value"] == pytest.approx(0.6, abs=0.1)
    assert open_["p_value"] > 0.05
    assert open_["passed"] is None
    assert open_["sentence"].endswith("whether some is there before training is left open")
    assert low["passed"] is True
    assert low["sentence"].endswith("the ranking is not shown to be there before training")
    assert "learned" not in open_["sentence"] + low["sentence"]
    # Three of these tasks are told apart by nothing, so three of the 24 orders are this one.
    alike = np.array([[0, 2, 1, 1], [1, 0, 2, 1], [2, 1, 0, 1], [1, 1, 1, 0]], float)
    bare = np.random.default_rng(3).normal(size=(4, 4))
    few = controls.weights_randomized(alike, bare, 0)["random_weights"]
    assert few["value"] < controls.LOW
    assert few["passed"] is None


def test_fresh_weights_are_others_of_the_same_network_fitted_to_the_same_rows(store):
    network = make_network(store)
    network.fit_statistics(store, store.rows("train"))
    state = torch.random.get_rng_state()
    a, b, other = (controls.fresh(network, store, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(a.head("t0").mean, network.head("t0").mean)
    for (name, p), q, r in zip(
        a.named_parameters(), b.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(p, q)
        if name.endswith("weight") and p.dim() > 1:
            assert not torch.equal(p, r)


def test_shuffled_labels_are_the_same_ones_on_other_rows(store):
    rows = store.rows("valid", "test")
    wrong = controls.with_shuffled_labels(store, rows, 0)
    rest = store.rows("train")
    for task in store.schema.task_names:
        before, after = store.target(task), wrong.target(task)
        known = rows[store.mask(task)[rows]]
        assert torch.equal(before[rest], after[rest])
        assert torch.equal(wrong.mask(task), store.mask(task))
        assert torch.equal(before[known].flatten().sort()[0], after[known].flatten().sort()[0])
        assert not torch.equal(before[known], after[known])


def test_labels_that_go_together_do_not_when_shuffled():
    small = make_store(("vector",), ("regression",) * 4, samples=120, unlabelled=0.1)
    cause, noise = torch.randn(120, 1), torch.randn(120, 4)
    changed = {f"y/t{n}": cause + 0.5 * noise[:, n : n + 1] for n in range(4)}
    tied = type(small)(small.meta, {**small.tensors, **changed})
    rows = tied.rows()
    graph = labels.estimate(None, tied, rows, 0)
    shuffled = labels.estimate(None, controls.with_shuffled_labels(tied, rows, 0), rows, 0)
    found = controls.labels_randomized(graph, shuffled)["random_labels"]
    assert (found["value"], found["passed"]) == (0, True)
    assert "0 of 12 pairs are significant, with true ones 12" in found["sentence"]


def test_evidence_can_be_told_other_labels_than_are_scored(store):
    network, rows = make_network(store), store.rows()
    plain = evidence.estimate(network, store, rows, 0)
    np.testing.assert_array_equal(
        evidence.estimate(network, store, rows, 0, store).value, plain.value
    )
    wrong = controls.with_shuffled_labels(store, rows, 0)
    told = evidence.estimate(network, store, rows, 0, wrong)
    # The loss with nothing told is that of the true labels, so only what is told has changed.
    assert not np.allclose(told.value[0, 1], plain.value[0, 1])
    np.testing.assert_array_equal(told.n, plain.n)


def test_total_rise_is_the_value_of_total_ablation(store):
    network, rows = make_network(store), store.rows()
    expected = estimate_ablation_total(network, store, rows, 0).value
    np.testing.assert_allclose(total_rise(network, store, rows), expected, rtol=1e-6)


def test_probes_of_weights_leave_them_as_they_were(store):
    network = make_network(store)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    probes = controls.probes_of_weights(network, store, 4, 0)
    assert 1 <= len(probes) <= controls.STEPS
    assert probes.ahead.shape[1:] == (5, 5)
    assert np.isfinite(probes.gramian.numpy()).any()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("labels", {"random_labels"}),
        ("evidence", {"ablation", "random_weights", "random_labels"}),
        ("look_ahead", {"ablation", "random_weights"}),
        ("attention", {"ablation", "random_weights"}),
        ("ablation_total", {"random_weights"}),
        ("combined", {"ablation", "random_weights"}),
        ("coregionalization", {"ablation", "random_weights"}),
    ],
)
def test_controls_are_there_by_default_and_kept(folder, tmp_path, method, expected):
    graph = relate(folder / "run", method, device="cpu")
    assert set(graph.controls) - {"necessity", "sufficiency"} == expected
    for control in graph.controls.values():
        assert control["passed"] in (True, False, None)
        assert control["sentence"][-1] not in ".!"
        assert "\n" not in control["sentence"]
    graph.to_json(tmp_path / "g.json")
    assert TaskGraph.from_json(tmp_path / "g.json").controls == graph.controls
    assert json.loads((tmp_path / "g.json").read_text())["controls"].keys() == graph.controls.keys()
    if method == "labels":
        assert relate(folder / "run", method, controls=False).controls == {}
    if method == "attention":
        assert "uniform" in graph.control["what"]


def test_cuts_are_made_on_rows_that_were_not_learned(folder, monkeypatch):
    run, read = Run.load(folder / "run"), []
    plain = controls.total_rise
    monkeypatch.setattr(controls, "total_rise", lambda *a: read.append(a[2]) or plain(*a))
    graph = relate(run, "coregionalization", device="cpu")
    assert graph.n.max() > 30  # of 40 training rows and 30 others
    assert torch.equal(read[0], run.store().rows("valid", "test"))


def test_the_combination_is_repeated_on_untrained_weights(folder):
    run = Run.load(folder / "run")
    store, graph = run.store(), relate(run, "combined", device="cpu")
    rows, bare = store.rows("valid", "test"), controls.fresh(run.network("cpu"), store, 0)
    parts = {m: estimate(m, bare, store, rows_for(m, store, rows), 0) for m in SINGLE_TRAINING}
    expected = float(spearman(graph.value, combine(parts).value))
    assert graph.controls["random_weights"]["value"] == pytest.approx(expected)


def test_the_same_every_time(folder):
    found = [relate(folder / "run", "cka", device="cpu").controls for _ in range(2)]
    assert found[0] == found[1]
