"""`relate --method transfer`, `relate --groups` and what `train` makes of their files."""

import json

import pytest
from small_runs import small_config, small_store

from gnnfusion.cli import main
from gnnfusion.relate_command import expected
from gnnfusion.relatedness.grouping import Grouping
from gnnfusion.relatedness.transfer import Transfer
from gnnfusion.training.fit import train
from gnnfusion.training.run import Run

SMALL = ["--network.width", "8", "--network.heads", "2", "--epochs", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("groups")
    store = small_store(folder / "store")
    train(store, folder / "run", small_config(epochs=1), logs=False)
    return folder


def call(capsys, code, *words):
    capsys.readouterr()
    assert main([str(w) for w in words]) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return said


def test_transfer_is_measured_resumed_and_grouped(made, capsys, tmp_path):
    file = tmp_path / "to" / "groups.json"
    arguments = ["relate", made / "run", "--method", "transfer", "--seeds", "2", "--jobs", "1",
                 "--device", "cpu", "--groups", "2", "-o", file]  # fmt: skip
    said = call(capsys, 0, *arguments)
    assert "12 trainings, 12 to do" in said.err
    assert "11 trainings will take about" in said.err
    assert "training with i helps j (transfer)" in said.out
    assert "reliability over seeds" in said.out
    transfer = Transfer.from_json(made / "run" / "transfer.json")
    assert (transfer.trainings, len(transfer.groups)) == (12, 3)
    assert json.loads((made / "run/task_graph_transfer.json").read_text())["method"] == "transfer"
    groups = json.loads(file.read_text())
    assert sorted(t for g in groups["groups"] for t in g) == ["t0", "t1", "t2"]
    assert len(groups["groups"]) <= 2
    assert groups["question"] == "training with i helps j"
    assert f"groups: {file}" in said.out
    assert "only training tells" not in said.out
    again = call(capsys, 0, *arguments)
    assert "12 trainings, 0 to do" in again.err
    words = ["--seeds", "1", "--jobs", "1", "--subsets", "2", "--device", "cpu"]
    sampled = call(
        capsys, 0, "relate", made / "run", "--method", "transfer", *words, "-o", tmp_path / "o"
    )
    assert "5 trainings," in sampled.err
    assert (tmp_path / "o" / "task_graph_transfer.json").is_file()
    split = call(capsys, 0, "relate", made / "run", "--method", "transfer", *words, "--groups", "2")
    assert "5 trainings, 0 to do" in split.err
    assert "expected from 2 measured groups and one training: losses " in split.out
    assert "(standard error " in split.out
    fitted = json.loads((made / "run" / "groups.json").read_text())
    assert fitted["method"] == "combined, 2 groups measured"
    assert sorted(t for g in fitted["groups"] for t in g) == ["t0", "t1", "t2"]


@pytest.mark.parametrize(
    ("value", "error", "groups", "words", "end"),
    [
        (0.06, 0.02, (("a", "b"),), "lower by 6.0% (standard error 2.0%)", "mean over tasks"),
        (0.03, 0.02, (("a", "b"),), "lower by 3.0% (standard error 2.0%)", "on validation rows"),
        (-0.18, 0.09, (("a", "b"),), "higher by 18.0% (standard error 9.0%)", "on validation rows"),
        (0.0, 0.0, (("a",), ("b",)), "lower by 0.0% (standard error 0.0%)", "mean over tasks"),
    ],
)
def test_what_a_split_is_expected_to_gain_is_said_with_what_that_is_worth(
    value, error, groups, words, end
):
    said = expected(Grouping(groups, "combined", "", value, error=error))
    assert words in said
    assert said.endswith(end)


def test_groups_by_what_does_not_measure_training_say_so(made, capsys):
    said = call(capsys, 0, "relate", made / "run", "--method", "labels", "--groups", "3")
    assert "only training tells" in said.out
    written = json.loads((made / "run" / "groups.json").read_text())
    assert written["method"] == "labels"
    assert written["value"] >= 0
    assert set(written["weights"]) == {"t0", "t1", "t2"}


def test_a_run_is_trained_by_the_files(made, capsys, tmp_path):
    file = tmp_path / "groups.json"
    file.write_text(json.dumps({
        "groups": [["t2", "t0"]], "weights": {"t0": 2.0, "t1": 0.5, "t2": 0.5},
    }))  # fmt: skip
    arguments = ["train", made / "store", "-o", tmp_path / "run", "--groups", file,
                 "--task_weights", file, *SMALL]  # fmt: skip
    said = call(capsys, 0, *arguments)
    assert "run:" in said.out
    run = Run.load(tmp_path / "run")
    assert run.config.network.groups == (("t2", "t0"),)
    assert {t.name: t.weight for t in run.schema.tasks} == {"t0": 2.0, "t1": 0.5, "t2": 0.5}
    assert set(run.network("cpu").networks) == {"t0", "t1"}
    call(capsys, 0, *arguments)  # finished, it is left as it is
    call(capsys, 0, "evaluate", tmp_path / "run", "--device", "cpu")
    written = ["--network.groups", '[["t0", "t1"]]']
    call(capsys, 0, "train", made / "store", "-o", tmp_path / "other", *written, *SMALL)
    assert Run.load(tmp_path / "other").config.network.groups == (("t0", "t1"),)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["relate", "{run}", "--groups", "0"], 2, "the number of groups must be at least 1, not 0"),
        (["relate", "{run}", "--groups", "2", "-o", "f"], 2, "-o names the file of groups, and f"),
        (["relate", "{run}", "--method", "transfer", "--seeds", "0"], 2, "seeds and jobs must be"),
        (["relate", "{run}", "--method", "transfer", "--subsets", "9"], 2, "have 4 groups"),
        (["train", "{store}", "-o", "r", "--groups", "none.json"], 1, "none.json cannot be read"),
        (["train", "{store}", "-o", "r", "--groups", "{bad}"], 2, "a group names 't9', which is"),
        (["train", "{store}", "-o", "r", "--task_weights", "{bad}"], 2, "a weight names 't9'"),
        (["train", "{store}", "-o", "r", "--groups", "{bad}", "--sharing", "single"], 2,
         "leave out the groups"),
    ],
)  # fmt: skip
def test_what_cannot_be_grouped_is_one_sentence(
    made, capsys, tmp_path, monkeypatch, arguments, code, words
):
    monkeypatch.chdir(tmp_path)
    bad = made / "bad.json"
    bad.write_text(json.dumps({"groups": [["t0", "t9"]], "weights": {"t9": 1}}))
    places = {"store": made / "store", "run": made / "run", "bad": bad}
    said = call(capsys, code, *(a.format(**places) for a in arguments))
    assert words in said.err
    assert not list(tmp_path.iterdir()), "nothing was begun"
