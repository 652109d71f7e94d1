"""Added tasks: what they are, that nothing else changes, and how a place becomes a verdict."""

import json

import numpy as np
import pytest
import torch
from random_stores import make_store
from small_runs import small_config, small_store

from gnnfusion.errors import UsageError
from gnnfusion.relatedness import probe_tasks
from gnnfusion.relatedness.probe_tasks import ProbeReport, ProbeTask, probe, with_probe_tasks
from gnnfusion.relatedness.task_graph import QUESTIONS, TaskGraph
from gnnfusion.training.evidence import kin_matrix
from gnnfusion.training.fit import train


def test_copies_are_close_negations_less_and_noise_is_noise():
    store = make_store(("vector",), ("regression", "regression"), samples=2000, unlabelled=0.1)
    store.tensors["y/t0"][~store.mask("t0")] = 1e9  # what no one may read
    view, tasks = with_probe_tasks(store)
    assert [(t.name, t.kind, t.of) for t in tasks] == [
        ("t0_duplicate", "duplicate", "t0"), ("t0_negated", "negation", "t0"),
        ("t1_duplicate", "duplicate", "t1"), ("t1_negated", "negation", "t1"),
        ("pure_noise", "noise", ""),
    ]  # fmt: skip
    known = store.mask("t0")
    columns = ("t0", "t0_duplicate", "t0_negated", "pure_noise")
    found = np.corrcoef([view.target(t)[known, 0].numpy() for t in columns])[0]
    # Noise of a share s of the spread leaves a correlation of 1 / sqrt(1 + s^2).
    assert found[1] == pytest.approx(1 / np.hypot(1, 0.3), abs=0.01)
    assert found[2] == pytest.approx(-1 / np.hypot(1, 0.6), abs=0.02)
    assert abs(found[3]) < 0.08
    assert torch.equal(view.mask("t0_duplicate"), known)
    assert view.mask("pure_noise").all()


@pytest.mark.parametrize("kind", ["binary", "multiclass", "ordinal", "multilabel"])
def test_of_classes_a_tenth_are_others(kind):
    store = make_store(("vector",), (kind, "regression"), samples=2000, unlabelled=0.1)
    view, _ = with_probe_tasks(store)
    before, after = store.target("t0"), view.target("t0_duplicate")
    assert before.dtype == after.dtype
    assert view.classes("t0_duplicate") == store.classes("t0")
    assert view.schema.task("t0_duplicate").kind == kind
    assert "t0_negated" not in view.schema.task_names
    changed = (before != after).float().mean()
    assert changed == pytest.approx(0.1, abs=0.025)
    assert after.max() <= before.max()
    assert after.min() >= 0


def test_the_store_is_shared_and_nothing_is_derived():
    store = make_store(("vector",), ("regression",) * 3, derived={"t1": ("t0",)})
    view, tasks = with_probe_tasks(store)
    for name in store.tensors:
        assert view.tensors[name] is store.tensors[name]
    assert view.path is None
    kin = kin_matrix(view.schema)
    assert kin[:3, :3].tolist() == kin_matrix(store.schema).tolist()
    assert torch.equal(kin[3:], torch.eye(len(kin), dtype=torch.bool)[3:])
    assert len({t.of for t in tasks if t.of} & {"t0", "t1"}) == 1  # of kin only one is copied
    again, _ = with_probe_tasks(store)
    for task in tasks:
        assert torch.equal(view.target(task.name), again.target(task.name))
    twice, more = with_probe_tasks(view)  # names that are taken
    assert len(set(twice.schema.task_names)) == len(twice.schema.task_names)
    assert "pure_noise_" in [t.name for t in more]


def graph_of(value, p_value):
    tasks = ("a", "b", "a_duplicate", "a_negated", "pure_noise")
    rest = {"low": value, "high": value, "n": 9, "method": "evidence", "question": QUESTIONS[1]}
    return TaskGraph(tasks=tasks, value=value, p_value=p_value, **rest)


def test_places_become_verdicts():
    added = tuple(ProbeTask(n, k, o) for n, k, o in [
        ("a_duplicate", "duplicate", "a"),
        ("a_negated", "negation", "a"),
        ("pure_noise", "noise", ""),
    ])  # fmt: skip
    value, p_value = np.zeros((5, 5)), np.ones((5, 5))
    value[:, 0] = [0, 0.1, 0.9, 0.5, 0.2]
    report = ProbeReport(graph_of(value, p_value), added)
    assert [report.place(t) for t in added[:2]] == [1, 2]
    assert [report.passed(t) for t in added] == [True] * 3
    assert report.sentence(added[0]) == (
        "a_duplicate has place 1 among the 4 sources of a; expected: 1"
    )
    value[4, 0], p_value[4, 0] = 2.0, 0.0
    report = ProbeReport(graph_of(value, p_value), added)
    assert [report.passed(t) for t in added] == [False, False, False]
    assert report.kept(added[2]) == (("pure_noise", "a"),)
    assert "from pure_noise to a" in report.sentence(added[2])
    untested = ProbeReport(graph_of(value, np.full((5, 5), np.nan)), added)
    places = untested.graph.ranks[4]
    assert untested.place(added[2]) == pytest.approx(np.nanmean(places))
    value[:, 0] = np.nan
    assert "cannot be estimated" in ProbeReport(graph_of(value, p_value), added).sentence(added[0])


def test_a_run_is_probed_once_and_kept(tmp_path, monkeypatch):
    store = small_store(tmp_path / "store", ("regression", "binary", "regression"))
    run = train(store, tmp_path / "run", small_config(epochs=1), logs=False)
    report = probe(run, "cka", device="cpu")
    assert len(report.graph.tasks) == 3 + len(report.tasks)
    assert not report.graph.derived.any()
    report.to_json(tmp_path / "p.json")
    written = json.loads((tmp_path / "p.json").read_text())
    assert [t["kind"] for t in written["tasks"]] == [t.kind for t in report.tasks]
    before = (run.path / "probe" / "seed0" / "model.safetensors").stat().st_mtime_ns
    again = probe(run, "evidence", device="cpu")
    assert again.graph.tasks == report.graph.tasks
    assert (run.path / "probe" / "seed0" / "model.safetensors").stat().st_mtime_ns == before
    other = probe(run, "cka", device="cpu", seed=1)  # other added tasks, beside those
    assert not np.array_equal(other.graph.value, report.graph.value)
    ahead = probe(run, "look_ahead", device="cpu")
    assert np.isfinite(ahead.graph.value).any()
    monkeypatch.setattr(probe_tasks, "_trained", None)  # labels train nothing
    labels = probe(run, "labels")
    assert labels.passed(labels.tasks[0])
    with pytest.raises(UsageError, match="methods that read one training, not for 'transfer'"):
        probe(run, "transfer")
