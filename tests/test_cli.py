"""The commands as a user meets them: what they print, write, and say when something is wrong."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small_runs import SPLIT, small_config, small_store
from small_tables import CLASSES, SCHEMA, make_table

from gnnfusion import datasets
from gnnfusion.cli import _parse, main
from gnnfusion.graphs.store import GraphStore
from gnnfusion.schema import Schema
from gnnfusion.training.compare import auto
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.run import Run

SMALL = ["--network.width", "8", "--network.heads", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A table, built and trained by the commands."""
    folder = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNNFUSION_CACHE", str(folder / "cache"))
        make_table(folder)
        Schema(**SCHEMA, base=folder).to_yaml(folder / "schema.yaml")
        schema, store, run = (str(folder / n) for n in ("schema.yaml", "store", "run"))
        assert main(["build", schema, "-o", store, "--workers", "1"]) == 0
        assert main(["train", store, "-o", run, "--epochs", "2", *SMALL]) == 0
        yield folder


def failure(capsys, arguments, code=1):
    """The one sentence on standard error of a command that fails with this code."""
    capsys.readouterr()
    try:
        found = main([str(a) for a in arguments])
    except SystemExit as done:
        found = done.code
    out, err = capsys.readouterr()
    assert found == code, err
    assert "Traceback" not in out + err
    lines = [line for line in err.splitlines() if line.startswith("gnnfusion: ")]
    if code == 1:
        assert len(lines) == 1, err
        assert "unexpected" not in lines[0]
    return lines[0] if lines else err


def success(capsys, arguments):
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 0
    return capsys.readouterr().out


# -- the way through --------------------------------------------------------------------------


def test_build_says_what_it_made(made, capsys):
    out = success(capsys, ["build", made / "schema.yaml", "-o", made / "store", "--workers", "1"])
    assert "60 samples: 30 train, 10 valid, 20 test" in out
    for name in ("picture", "words", "person"):
        assert name in out
    assert f"store: {made / 'store'}" in out


def test_train_says_its_scores_and_is_done_when_called_again(made, capsys):
    before = (made / "run/model.safetensors").stat().st_mtime_ns
    out = success(capsys, ["train", made / "store", "-o", made / "run", "--epochs", "2", *SMALL])
    assert (made / "run/model.safetensors").stat().st_mtime_ns == before
    assert "others known" in out
    assert f"run: {made / 'run'}" in out


def test_evaluate_prints_and_writes_the_same_scores(made, capsys, tmp_path):
    out = success(
        capsys,
        ["evaluate", made / "run", "--splits", "test", "--json", tmp_path / "m.json", "--device",
         "cpu"],
    )  # fmt: skip
    found = json.loads((tmp_path / "m.json").read_text())
    written = json.loads((made / "run/metrics.json").read_text())
    assert found["split"] == {"test": written["split"]["test"]}
    for task, values in found["split"]["test"].items():
        for name, value in values.items():
            assert any({"test", task, name, f"{value:.4f}"} <= set(line.split())
                       for line in out.splitlines())  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_predict_writes_every_row_and_lists_those_with_a_problem(made, capsys, tmp_path, suffix):
    table = pd.read_csv(made / "t.csv", dtype=object).tail(20)
    (made / "pic/broken.png").write_bytes(b"broken")
    table.iloc[3, table.columns.get_loc("picture")] = "pic/broken.png"
    table.to_csv(made / "new.csv", index=False)
    out = tmp_path / f"p{suffix}"
    arguments = ["predict", made / "run", made / "new.csv", "-o", out, "--given", "auto",
                 "--workers", "1", "--device", "cpu"]  # fmt: skip
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 0
    said = capsys.readouterr()
    assert f"predictions: {out} (20 rows, 1 with a problem)" in said.out
    assert f"row {table['id'].iloc[3]!r}: the image 'pic/broken.png' cannot be read" in said.err
    frame = pd.read_csv(out, dtype={"id": str}) if suffix == ".csv" else pd.read_parquet(out)
    assert frame["id"].tolist() == table["id"].tolist()
    shares = frame[[f"mood_p_{c}" for c in CLASSES["mood"]]].sum(axis=1)
    np.testing.assert_allclose(shares, 1, rtol=1e-5)
    assert (frame["mood_given"].astype(bool).to_numpy() == table["mood"].notna().to_numpy()).all()
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


def test_predict_never_imports_lightning(made, tmp_path):
    code = "import sys; from gnnfusion.cli import main; print(main(sys.argv[1:]), *sys.modules)"
    command = [sys.executable, "-c", code, "predict", made / "run", made / "t.csv", "-o",
               tmp_path / "p.csv", "--workers", "1", "--device", "cpu"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, *modules = done.stdout.splitlines()[-1].split()
    assert code == "0"
    assert "torch" in modules
    assert not {"pytorch_lightning", "lightning", "tensorboard"} & set(modules)


@pytest.mark.parametrize("method", ["evidence", "labels", "attention"])
def test_relate_writes_graph_and_figures(made, capsys, tmp_path, method):
    arguments = ["relate", made / "run", "--method", method, "-o", tmp_path, "--device", "cpu"]
    out = success(capsys, arguments)
    question = "labels go together" if method == "labels" else "label i informs j beyond"
    assert question in out
    assert ("control:" in out) == (method == "attention")
    graphs = list(tmp_path.rglob("*.json"))
    assert len(graphs) == 1
    assert json.loads(graphs[0].read_text())["method"] == method
    assert list(tmp_path.rglob("*.png"))


def test_an_unknown_search_or_sampler_is_bad_usage(made, capsys):
    call = ["compare", made / "store", "-o", made / "compare", "--search"]
    assert "unknown search 'lr'; use weights or none" in failure(capsys, [*call, "lr"], 2)
    said = failure(capsys, [*call, "weights", "--weights.sampler", "best"], 2)
    assert "unknown weights.sampler 'best'; use one of auto, grid, optuna, random" in said
    assert not (made / "compare").exists()


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("compare", ["--fusion", "average,transfomer"], "unknown fusion 'transfomer'"),
        ("compare", ["--base.network.fusion", "mult"], "name fusions by --fusion"),
        ("compare", ["--base.evidence", "0.9"], "is not what all methods share"),
        ("compare", ["--weights.folds", "3"], "add --search weights"),
        ("compare", ["--baselines", "forest"], "unknown baseline 'forest'"),
        ("train", ["--budget", "5"], "--budget is for --auto"),
        ("train", ["--auto", "--evidence", "0.2"], "leave out --evidence"),
    ],
)
def test_what_would_be_passed_over_is_refused(made, capsys, tmp_path, command, words, said):
    call = [command, made / "store", "-o", tmp_path / "out", *words]
    assert said in failure(capsys, call, 2)
    assert not (tmp_path / "out").exists()


def test_a_data_sets_own_settings_serve_a_comparison_too():
    settings = _parse(["compare", "mosi", "-o", "out", "--base.epochs", "2"]).compare.base
    own = datasets.defaults("mosi")
    assert settings.epochs == 2
    assert settings.weight_decay == own["weight_decay"] != TrainConfig().weight_decay


def test_auto_compares_and_trains_what_validation_prefers(made, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(auto, "TRIALS", 1)
    monkeypatch.setattr(auto, "FUSIONS", ("concat",))
    out = success(capsys, [
        "train", made / "store", "-o", tmp_path / "run", "--auto", "--budget", "900",
        "--epochs", "1",
        "--fusion", "average", "--network.width", "8", "--seed", "3", "--device", "cpu",
    ])  # fmt: skip
    assert "Validation prefers" in out
    found = json.loads((tmp_path / "run-compare" / "compare.json").read_text())
    assert {m["name"] for m in found["methods"]} > {"average+auto+static", "average+single+static"}
    config = Run.load(tmp_path / "run").config
    best = found["configs"][found["best"]]["network"]
    assert (config.network.fusion, config.network.sharing) == (best["fusion"], best["sharing"])
    assert (config.seed, config.max_seconds) == (3, 0.0)


def test_init_writes_a_schema_that_builds(made, capsys, tmp_path):
    out = success(
        capsys, ["init", made / "t.csv", "--tasks", "mood,y", "--id", "id", "-o", made / "g.yaml"]
    )
    assert "because" in out
    schema = Schema.from_yaml(made / "g.yaml")
    assert schema.task_names == ("mood", "y")
    assert main(["build", str(made / "g.yaml"), "-o", str(tmp_path / "s"), "--workers", "1"]) == 0
    assert len(GraphStore.open(tmp_path / "s")) == 60
    again = failure(capsys, ["init", made / "t.csv", "-o", made / "g.yaml"], 2)
    assert "exists; remove it or name another file with -o" in again


def test_info_and_data_list(capsys, tmp_path):
    assert "torch" in success(capsys, ["info", "--json", tmp_path / "i.json"])
    assert "gnnfusion" in json.loads((tmp_path / "i.json").read_text())
    out = success(capsys, ["data", "list"])
    assert "planted" in out
    assert "mosi" in out


def test_settings_come_from_a_file_and_flags_override_it(made, tmp_path):
    config = small_config(epochs=1, lr=0.02).to_dict()
    (tmp_path / "c.yaml").write_text(json.dumps(config))  # JSON is YAML
    arguments = ["train", str(made / "store"), "-o", str(tmp_path / "run"), "--config",
                 str(tmp_path / "c.yaml"), "--network.layers", "1", "--seed", "7"]  # fmt: skip
    assert main(arguments) == 0
    found = Run.load(tmp_path / "run").config
    assert (found.epochs, found.lr, found.seed) == (1, 0.02, 7)
    assert (found.network.width, found.network.layers) == (8, 1)


def test_two_thousand_rows_with_unreadable_media_build_and_train(tmp_path, capsys, monkeypatch):
    """1 % of the pictures are damaged or absent: each is listed by its row's id."""
    monkeypatch.setenv("GNNFUSION_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    (tmp_path / "p").mkdir()
    label = rng.integers(0, 2, 2000)
    bad = sorted(rng.choice(2000, 20, replace=False).tolist())
    for i in range(2000):
        data = rng.integers(0, 128, (4, 4, 3), dtype=np.uint8) + np.uint8(127 * label[i])
        Image.fromarray(data).save(tmp_path / f"p/{i}.png")
    for place, i in enumerate(bad):
        path = tmp_path / f"p/{i}.png"
        if place % 2:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:30])
    frame = pd.DataFrame({"name": [f"row-{i}" for i in range(2000)], "label": label})
    frame["picture"] = [f"p/{i}.png" for i in range(2000)]
    frame["x"] = rng.normal(size=2000)
    frame.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "s.yaml").write_text(
        "table: t.csv\nid: name\n"
        "modalities:\n"
        "  picture: {kind: image, column: picture, extractor: {size: 4}}\n"
        "  x: {kind: tabular, column: x}\n"
        "tasks:\n  label: {kind: binary}\n"
    )
    store, run = tmp_path / "store", tmp_path / "run"
    out = success(capsys, ["build", tmp_path / "s.yaml", "-o", store])
    assert "2000 samples" in out
    assert f"20 problems, listed in {store / 'build_report.csv'}" in out
    with (store / "build_report.csv").open(newline="") as file:
        report = list(csv.DictReader(file))
    assert [r["id"] for r in report] == [f"row-{i}" for i in bad]
    assert [int(r["row"]) for r in report] == bad
    assert all(f"p/{i}.png" in r["problem"] for i, r in zip(bad, report, strict=True))
    success(capsys, ["train", store, "-o", run, "--epochs", "2", "--lr", "0.01", *SMALL])
    # The pictures tell the label, so learning went through them.
    assert Run.load(run).metrics["split"]["test"]["label"]["accuracy"] > 0.9
    said = failure(capsys, ["build", tmp_path / "s.yaml", "-o", tmp_path / "no", "--strict"])
    assert f"20 values cannot be used; the first is row {bad[0]} (id 'row-{bad[0]}')" in said


# -- bad usage --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["bild"],
        ["train"],
        ["train", "s", "-o", "r", "--epok", "3"],
        ["train", "s", "-o", "r", "--epoch", "3"],  # shortened
        ["train", "s", "-o", "r", "--network.depth", "3"],
        ["train", "s", "-o", "r", "--epochs", "many"],
        ["predict", "r", "t.csv"],
        ["evaluate", "r", "--fast"],
        ["data", "fetch"],
    ],
)
def test_unknown_commands_flags_and_values_are_bad_usage(capsys, arguments):
    assert failure(capsys, arguments, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "absent.yaml", "-o", "s"], "there is no schema file 'absent.yaml'"),
        (["train", "{store}", "-o", "r", "--device", "tpu"], "unknown device 'tpu'"),
        (["train", "{store}", "-o", "r", "--epochs", "0"], "epochs must be at least 1, not 0"),
        (["train", "{store}", "-o", "r", "--fusion", "glue"], "unknown fusion 'glue'; use one of"),
        (["train", "{store}", "-o", "r", "--network.width", "7"], "width 7 is not a multiple"),
        (
            ["train", "{store}", "-o", "{run}", "--epochs", "9", *SMALL],
            "another 'epochs' (2, now 9)",
        ),
        (["evaluate", "{run}", "--splits", "dev"], "unknown split 'dev'; use train, valid, test"),
        (["predict", "{run}", "t.csv", "-o", "p.txt"], "p.txt must end in .csv or .parquet"),
        (["predict", "{run}", "{table}", "-o", "p.csv", "--given", "age"], "unknown task 'age'"),
        (["relate", "{run}", "--method", "gain"], "unknown method 'gain'; use one of evidence"),
        (["relate", "{run}", "--splits", ","], "no split is named to measure on"),
    ],
)
def test_bad_usage_is_one_sentence(made, capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    places = {"store": made / "store", "run": made / "run", "table": made / "t.csv"}
    said = failure(capsys, [a.format(**places) for a in arguments], 2)
    assert words in said
    assert not list(tmp_path.iterdir()), "nothing was begun"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "{store}", "-o", "r"],
        ["evaluate", "{run}"],
        ["predict", "{run}", "{table}", "-o", "p.csv", "--workers", "1"],
        ["relate", "{run}"],
    ],
)
def test_an_absent_gpu_is_one_sentence(made, capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    places = {"store": made / "store", "run": made / "run", "table": made / "t.csv"}
    said = failure(capsys, [*(a.format(**places) for a in arguments), "--device", "cuda"], 2)
    assert "no CUDA device is available; use --device cpu" in said
    assert not list(tmp_path.iterdir())


# -- failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="words"), "'words'"),
        (lambda f: f.assign(y="tall"), "row 0 (id 'r0')"),
        (lambda f: f.assign(id="same"), "'same'"),
        (lambda f: f.assign(fold="train"), None),
        (lambda f: f.assign(fold="later"), "'later'"),
        (lambda f: f.assign(mood="calm"), "'mood'"),
        (lambda f: f.assign(picture=None), "modality 'picture' is missing in every training row"),
        (lambda f: f.head(0), "no rows"),
    ],
)
def test_tables_that_do_not_fit_are_said(made, capsys, tmp_path, monkeypatch, change, words):
    """Each is found by build, or (an empty split) by train."""
    monkeypatch.setenv("GNNFUSION_CACHE", str(tmp_path / "cache"))
    frame = pd.read_csv(made / "t.csv", dtype=object)
    shutil.copytree(made / "pic", tmp_path / "pic")
    change(frame).to_csv(tmp_path / "t.csv", index=False)
    shutil.copy(made / "schema.yaml", tmp_path / "schema.yaml")
    arguments = ["build", tmp_path / "schema.yaml", "-o", tmp_path / "s", "--workers", "1"]
    if words is None:
        assert main([str(a) for a in arguments]) == 0
        said = failure(capsys, ["train", tmp_path / "s", "-o", tmp_path / "r", *SMALL])
        assert "the split 'valid' is empty, so training cannot stop early" in said
        return
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    err = capsys.readouterr().err
    assert code in (1, 2), err
    said = [line for line in err.splitlines() if line.startswith("gnnfusion: ")]
    assert len(said) == 1
    assert "unexpected" not in said[0]
    assert words in said[0]
    assert not (tmp_path / "s").exists()


def test_what_is_no_store_or_run_is_one_sentence(made, capsys, tmp_path):
    said = failure(capsys, ["train", tmp_path / "s", "-o", tmp_path / "r"])
    assert "s is not a graph store; make one with `gnnfusion build`" in said
    for command in (["evaluate"], ["relate"]):
        said = failure(capsys, [*command, tmp_path])
        assert "is not a run folder; make one with `gnnfusion train`" in said
    said = failure(capsys, ["predict", tmp_path, made / "t.csv", "-o", tmp_path / "p.csv"])
    assert "is not a run folder" in said


def test_damaged_stores_and_checkpoints_are_one_sentence(made, capsys, tmp_path):
    shutil.copytree(made / "store", tmp_path / "store")
    shutil.copytree(made / "run", tmp_path / "run")
    evaluate = ["evaluate", tmp_path / "run", "--device", "cpu"]
    success(capsys, evaluate)
    tensors, weights = (
        tmp_path / "store/graphs.safetensors", tmp_path / "run/model.safetensors"
    )  # fmt: skip
    good = weights.read_bytes()
    weights.write_bytes(good[:-9])
    assert "model.safetensors is corrupt; train again" in failure(capsys, evaluate)
    other = small_store(tmp_path / "other")
    arguments = ["train", other.path, "-o", tmp_path / "run2", "--epochs", "1", *SMALL]
    success(capsys, arguments)
    shutil.copy(tmp_path / "run2/model.safetensors", weights)
    assert "it was trained for another schema" in failure(capsys, evaluate)
    weights.unlink()
    assert "has not finished; call `gnnfusion train` again" in failure(capsys, evaluate)
    weights.write_bytes(good)
    data = tensors.read_bytes()
    tensors.write_bytes(data[: len(data) // 2])
    assert "is corrupt or truncated; build the store again" in failure(capsys, evaluate)
    shutil.rmtree(tmp_path / "store")
    assert "of this run is gone; build it again" in failure(capsys, evaluate)


def test_what_cannot_be_trained_is_one_sentence(capsys, tmp_path):
    store = small_store(tmp_path / "a", split=SPLIT.clip(min=1))
    said = failure(capsys, ["train", store.path, "-o", tmp_path / "r", *SMALL])
    assert "the split 'train' is empty" in said
    store = small_store()
    mask = store.tensors["mask/t1"].clone()
    mask[store.rows("train")] = 0
    GraphStore(store.meta, {**store.tensors, "mask/t1": mask}).save(tmp_path / "b")
    said = failure(capsys, ["train", tmp_path / "b", "-o", tmp_path / "r", *SMALL])
    assert "task 't1' has no label in the split 'train'" in said
    assert not (tmp_path / "r").exists()


def test_a_gcn_has_no_attention(capsys, tmp_path):
    store = small_store(tmp_path / "s")
    run = tmp_path / "run"
    arguments = ["train", store.path, "-o", run, "--epochs", "1", "--fusion", "gcn"]
    success(capsys, [*arguments, *SMALL])
    said = failure(capsys, ["relate", run, "--method", "attention", "--device", "cpu"], 2)
    assert "the fusion 'gcn' has no attention among tasks alone; use --method labels" in said


def test_debug_shows_where(made, tmp_path):
    from gnnfusion.errors import RunError

    with pytest.raises(RunError):
        main(["--debug", "evaluate", str(tmp_path)])


def test_what_nobody_foresaw_is_still_one_sentence(capsys, monkeypatch, made):
    def fail(*args, **more):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(Run, "evaluate", fail)
    assert main(["evaluate", str(made / "run")]) == 1
    err = capsys.readouterr().err
    assert err == (
        "gnnfusion: unexpected RuntimeError: first line second line; --debug shows where\n"
    )
