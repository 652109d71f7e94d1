"""`gnnfusion relate` and `info --methods`: what they print, write and refuse."""

import json
from itertools import permutations

import pytest
import torch
from small_runs import small_config, small_store

from gnnfusion.cli import main
from gnnfusion.graphs.store import GraphStore
from gnnfusion.relatedness.estimators import METHODS
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.report.captions import NOTHING, UNTESTED
from gnnfusion.training.fit import train


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("relate")
    store = small_store(
        folder / "store", tasks=("regression", "binary", "regression", "regression")
    )
    train(store, folder / "run", small_config(epochs=1), logs=False)
    return folder


def call(capsys, code, *words):
    capsys.readouterr()
    try:
        found = main([str(w) for w in words])
    except SystemExit as done:
        found = done.code
    said = capsys.readouterr()
    assert found == code, said.err
    assert "Traceback" not in said.err
    return said


def test_both_intervals_are_printed_by_name(made, capsys, tmp_path):
    words = ["--method", "residuals", "--retrainings", "2", "--device", "cpu", "-o", tmp_path]
    said = call(capsys, 0, "relate", made / "run", *words).out
    head = next(line for line in said.splitlines() if line.startswith("from"))
    assert head.split("  ")[-1].strip() == "n"
    assert "95 % given the model" in head
    assert "95 % over retraining" in head
    graph = TaskGraph.from_json(tmp_path / "task_graph_residuals.json")
    assert graph.retrained.shape == (3, 4, 4)
    low, high = graph.over_retraining
    assert f"{low[0, 1]:.4f} to {high[0, 1]:.4f}" in said


def test_where_only_the_order_counts_the_table_gives_places(made, capsys, tmp_path):
    said = call(
        capsys, 0, "relate", made / "run", "--method", "cka", "--device", "cpu", "-o", tmp_path
    ).out
    assert "only the order within a target means something" in said
    assert "no pair is a finding" in said
    lines = said.splitlines()
    head = next(n for n, line in enumerate(lines) if line.startswith("from"))
    assert "place in target" in lines[head]
    assert "adjusted p" not in lines[head]
    rows = [line.split() for line in lines[head + 1 : head + 13]]
    assert [r[1] for r in rows] == sorted(r[1] for r in rows)
    assert [r[-2] for r in rows] == ["1", "2", "3"] * 4


@pytest.fixture(scope="module")
def disjoint(tmp_path_factory):
    """A run on rows of which each has the label of one task."""
    folder = tmp_path_factory.mktemp("disjoint")
    store = small_store(tasks=("regression",) * 4, unlabelled=0.0)
    turn = torch.arange(len(store)) % 4
    masks = {f"mask/t{n}": (turn == n).to(torch.uint8) for n in range(4)}
    GraphStore(store.meta, {**store.tensors, **masks}).save(folder / "store")
    train(GraphStore.open(folder / "store"), folder / "run", small_config(epochs=1), logs=False)
    return folder / "run"


@pytest.mark.parametrize("method", ["labels", "evidence", "residuals"])
def test_without_rows_that_have_both_labels_nothing_is_estimable(
    disjoint, capsys, tmp_path, method
):
    words = ["--method", method, "--device", "cpu", "-o", tmp_path]
    said = call(capsys, 0, "relate", disjoint, *words).out
    lines = said.splitlines()
    head = next(n for n, line in enumerate(lines) if line.startswith("from"))
    assert "adjusted p" in lines[head]
    rows = [line.split() for line in lines[head + 1 : head + 13]]
    assert [(r[0], r[1]) for r in rows] == list(permutations(["t0", "t1", "t2", "t3"], 2))
    assert all(r[2:] == ["not", "estimable", "0"] for r in rows)  # 0 rows have both labels
    assert lines[head + 13] == NOTHING
    assert UNTESTED not in said
    assert "shuffled labels" not in said


def test_controls_and_probe_tasks_are_printed_and_written(made, capsys, tmp_path):
    words = ["--method", "labels", "--probe", "-o", tmp_path]
    said = call(capsys, 0, "relate", made / "run", *words).out
    assert "control (random labels): with shuffled labels" in said
    assert "probe task (duplicate, passed): t0_duplicate has place 1 among" in said
    assert "probe task (noise, passed): kept pairs with pure_noise: none" in said
    assert f"probe json: {tmp_path / 'probe_labels.json'}" in said
    assert (tmp_path / "probe_labels.json").is_file()
    assert (tmp_path / "figures" / "probe_labels_matrix.png").is_file()


def test_every_method_is_held_to_measured_gains(made, capsys, tmp_path):
    words = ["--validate", "--seeds", "2", "--jobs", "1", "--device", "cpu", "-o", tmp_path]
    said = call(capsys, 0, "relate", made / "run", *words)
    assert "20 trainings, 20 to do" in said.err
    written = json.loads((tmp_path / "relatedness_validation.json").read_text())
    everything = {*written["estimators"], *written["left_out"]}
    assert everything == {m for m in METHODS if m != "transfer"}
    for method in written["estimators"]:
        assert any(line.startswith(f"{method} ") for line in said.out.splitlines())
    assert f"reliability over seeds {written['reliability']:.2f}" in said.out
    assert written["conclusion"] in said.out
    assert (tmp_path / "figures" / "relatedness_validation.png").is_file()


def test_every_method_is_listed(capsys, tmp_path):
    words = " ".join(call(capsys, 0, "relate", "--help").out.split())
    assert f"one of {', '.join(METHODS)}" in words
    said = call(capsys, 0, "info", "--methods", "--json", tmp_path / "m.json").out
    listed = json.loads((tmp_path / "m.json").read_text())["relatedness"]
    assert list(listed) == list(METHODS)
    for name, method in METHODS.items():
        assert listed[name]["question"] == method.question
        assert listed[name]["family"] == method.family
        line = next(x for x in said.splitlines() if x.startswith("relatedness") and name in x)
        assert method.summary in line or any(method.summary in x for x in said.splitlines())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--retrainings", "-1"], "retrainings must not be negative, not -1"),
        (["--method", "labels", "--retrainings", "2"], "'labels' uses no network"),
        (["--method", "transfer", "--probe"], "--probe is for methods that read one training"),
        (
            ["--validate", "--groups", "2"],
            "--validate is of all methods at once; leave out --groups",
        ),
        (["--validate", "--method", "labels"], "at once; leave out --method"),
        (["--validate", "--splits", "test"], "at once; leave out --splits"),
        (["--validate", "--subsets", "2"], "no task would be in 3 groups"),
        (["--subsets", "2"], "--subsets is of --method transfer or --validate; leave it out"),
        (["--method", "labels", "--seeds", "5"], "--seeds is of --method transfer or --validate"),
        (["--method", "cka", "--jobs", "1"], "--jobs is of --method transfer or --validate"),
        *(
            (["--method", m, "--splits", "test"], f"{m!r} measures in training; leave out the s")
            for m in ("transfer", "look_ahead", "first_order")
        ),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(made, capsys, words, said):
    assert said in call(capsys, 2, "relate", made / "run", *words).err
