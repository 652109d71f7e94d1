import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from PIL import Image

from gnnfusion.errors import DataError, SchemaError, StoreError
from gnnfusion.graphs.build import build
from gnnfusion.graphs.store import GraphStore
from gnnfusion.samples.infer import infer_schema
from gnnfusion.schema import Context, Modality, Schema, Split, Task


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GNNFUSION_CACHE", str(tmp_path / "cache"))


def pictures(folder, n, bad=()):
    (folder / "pic").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(n):
        data = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(data).save(folder / f"pic/{i}.png")
    for i in bad:
        (folder / f"pic/{i}.png").write_bytes(b"broken")


def frame(n):
    rng = np.random.default_rng(1)
    score = rng.normal(size=n)
    return pd.DataFrame(
        {
            "id": [f"r{i}" for i in range(n)],
            "picture": [f"pic/{i}.png" for i in range(n)],
            "words": rng.choice(["good film", "bad film", "no film"], n),
            "age": rng.integers(20, 60, n),
            "mood": rng.choice(["calm", "glad", "sad"], n),
            "score": score,
            "video": rng.integers(0, max(2, n // 5), n),
            "place": rng.permutation(n),
        }
    )


def schema(folder, **more):
    values = {
        "table": "t.csv",
        "id": "id",
        "modalities": (
            Modality(name="picture", kind="image", columns="picture", extractor={"size": 4}),
            Modality(name="words", kind="text", columns="words"),
            Modality(name="columns", kind="tabular", columns="age"),
        ),
        "tasks": (Task(name="mood", kind="multiclass"), Task(name="score", kind="regression")),
    }
    return Schema(**{**values, **more}, base=folder)


@pytest.fixture
def table(tmp_path):
    pictures(tmp_path, 60)
    frame(60).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path


def report(store):
    with (store / "build_report.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def contents(store):
    return {p.name: p.read_bytes() for p in sorted(store.iterdir())}


def test_a_table_becomes_a_store(table):
    rows = frame(60)
    store = build(schema(table), table / "store", progress=False)
    assert store.ids() == rows.id.tolist()
    assert store.nodes("picture").x.shape == (60, 3, 4, 4)
    assert store.spec("words").dtype == "int32"
    assert [store.classes("mood")[i] for i in store.target("mood")] == rows.mood.tolist()
    np.testing.assert_allclose(store.target("score")[:, 0], rows.score, rtol=1e-6)
    assert store.masks.all()
    assert set(store.split.tolist()) == {0, 1, 2}
    train = store.rows("train").numpy()
    age = store.nodes("columns").x[:, 1].numpy()[train]
    assert abs(age.mean()) < 1e-6
    assert abs(age.std() - 1) < 1e-5
    state = store.meta["modalities"]["words"]["state"]
    assert state["size"] == len(state["vocabulary"]) + 2 == 6
    assert report(table / "store") == []


def test_every_cell_may_be_missing(table):
    rows = frame(60)
    rng = np.random.default_rng(0)
    for name in ("picture", "words", "age", "mood", "score"):
        rows[name] = rows[name].astype(object).where(rng.random(60) > 0.4, None)
    rows.loc[7, ["picture", "words", "age"]] = None
    rows.to_csv(table / "t.csv", index=False)
    store = build(schema(table), table / "store", progress=False)
    for name, column in (("picture", "picture"), ("words", "words"), ("columns", "age")):
        counts = store.nodes(name).ptr.diff()
        assert (counts == torch.tensor(rows[column].notna().to_numpy()).long()).all()
    for name in ("mood", "score"):
        assert (store.mask(name).numpy() == rows[name].notna()).all()
    assert report(table / "store") == []


def test_two_thousand_rows_with_unreadable_media(tmp_path):
    bad = sorted(random.Random(0).sample(range(2000), 20))
    pictures(tmp_path, 2000, bad)
    (tmp_path / f"pic/{bad[3]}.png").unlink()
    frame(2000).to_csv(tmp_path / "t.csv", index=False)
    store = build(schema(tmp_path), tmp_path / "store", progress=False)
    assert len(store) == 2000
    lines = report(tmp_path / "store")
    assert [(int(p["row"]), p["id"], p["column"]) for p in lines] == [
        (i, f"r{i}", "picture") for i in bad
    ]
    assert lines[0]["problem"].startswith(f"the image 'pic/{bad[0]}.png' cannot be read (")
    assert lines[3]["problem"] == f"the image 'pic/{bad[3]}.png' is not there"
    counts = store.nodes("picture").ptr.diff()
    assert (counts == 0).nonzero().flatten().tolist() == bad
    assert (store.nodes("words").ptr.diff() == 1).all()  # other modalities are kept
    with pytest.raises(DataError, match=rf"20 values .* row {bad[0]} \(id 'r{bad[0]}'\), column"):
        build(schema(tmp_path), tmp_path / "other", strict=True, progress=False)
    assert not (tmp_path / "other").exists()
    assert len(pd.read_csv(tmp_path / "other.build_report.csv")) == 20


def test_the_same_inputs_are_not_built_twice(table, caplog):
    store = table / "store"
    build(schema(table), store, progress=False)
    before, stamp = contents(store), (store / "graphs.safetensors").stat().st_mtime_ns
    with caplog.at_level("INFO", "gnnfusion"):
        build(schema(table), store, progress=False)
    assert (store / "graphs.safetensors").stat().st_mtime_ns == stamp
    assert "used as it is" in caplog.text
    (store / "build_report.csv").unlink()
    build(schema(table), store, progress=False)
    assert contents(store) == before
    data = (store / "graphs.safetensors").read_bytes()
    (store / "graphs.safetensors").write_bytes(data[:-10])
    build(schema(table), store, progress=False)
    assert contents(store) == before  # a damaged store is built again
    Image.new("RGB", (6, 6)).save(table / "pic/5.png")
    assert (build(schema(table), store, progress=False).nodes("picture").x[5] == 0).all()


def test_a_store_does_not_depend_on_where_it_is_built(table, tmp_path_factory):
    build(schema(table), table / "store", progress=False)
    other = tmp_path_factory.mktemp("elsewhere")
    pictures(other, 60)
    frame(60).to_csv(other / "t.csv", index=False)
    build(schema(other), other / "copy", workers=3, progress=False)
    assert contents(table / "store") == contents(other / "copy")


def test_new_rows_are_read_with_what_was_fitted(table):
    trained = build(schema(table), table / "store", progress=False)
    rows = frame(10).drop(columns=["score"])
    rows["words"] = "good unheard"
    rows.loc[2, "mood"] = "wild"
    new = build(schema(table), table / "new", fitted=trained.meta, table=rows, progress=False)
    assert set(new.split.tolist()) == {2}
    assert new.classes("mood") == trained.classes("mood")
    assert not new.mask("score").any()
    assert new.mask("mood").tolist() == [i != 2 for i in range(10)]
    assert [(p["id"], p["column"]) for p in report(table / "new")] == [("r2", "mood")]
    good = trained.meta["modalities"]["words"]["state"]["vocabulary"].index("good") + 2
    assert new.nodes("words").x[0, :3].tolist() == [good, 1, 0]
    assert new.meta["modalities"]["columns"] == trained.meta["modalities"]["columns"]
    assert len(build(schema(table), table / "one", fitted=trained.meta, table=rows[:1])) == 1
    with pytest.raises(SchemaError, match=r"no column 'words' \(modality 'words'\)"):
        build(schema(table), table / "x", fitted=trained.meta, table=rows.drop(columns="words"))


def test_new_rows_may_lack_a_modality_throughout(table):
    trained = build(schema(table), table / "store", progress=False)
    rows = frame(5).assign(picture=None)
    new = build(schema(table), table / "new", fitted=trained.meta, table=rows, progress=False)
    assert len(new.nodes("picture").x) == 0


def test_groups_of_the_split_are_stored_and_an_older_store_says_that_it_lacks_them(table):
    rows = frame(60).astype({"video": object})
    rows.loc[3:4, "video"] = None
    rows.to_csv(table / "t.csv", index=False)
    store = build(schema(table, split=Split(group="video")), table / "store", progress=False)
    group = store.groups.tolist()
    assert group.count(group[3]) == group.count(group[4]) == 1
    for a in range(5, 60):
        assert [group[a] == g for g in group[5:]] == [rows.video[a] == v for v in rows.video[5:]]
    older = {name: store.tensors[name] for name in store.tensors if name != "split/group"}
    with pytest.raises(StoreError, match="groups of column 'video'; build the store again"):
        _ = GraphStore(store.meta, older).groups
    assert build(schema(table), table / "plain", progress=False).groups is None


def test_context_is_stored_by_group_and_order(table):
    rows = frame(60)
    rows["video"] = rows["video"].astype(object)
    rows["place"] = rows["place"].astype(object)
    rows.loc[3, "video"] = None
    rows.loc[4, "place"] = None
    rows.to_csv(table / "t.csv", index=False)
    s = schema(
        table,
        context=Context(group="video", order="place"),
        split=Split(ratios={"train": 1.0}),
    )
    store = build(s, table / "store", progress=False)
    group = store.groups.tolist()
    assert group.count(group[3]) == group.count(group[4]) == 1
    for a in range(5, 30):
        for b in range(a):
            if b not in (3, 4):
                assert (group[a] == group[b]) == (rows.video[a] == rows.video[b])
    order = store.tensors["context/order"]
    assert order[5] == rows.place[5]
    assert [p["id"] for p in report(table / "store")] == ["r4"]
    rows.assign(place="first").to_csv(table / "t.csv", index=False)
    with pytest.raises(DataError, match=r"row 0 \(id 'r0'\): the order 'first' in column 'place'"):
        build(s, table / "store", progress=False)


def test_undeclared_functions_of_labels_are_said(table, caplog):
    rows = frame(60)
    rows["high"] = (rows.score > 0).astype(int)
    rows.to_csv(table / "t.csv", index=False)
    tasks = (Task(name="score", kind="regression"), Task(name="high", kind="binary"))
    build(schema(table, tasks=tasks), table / "store", progress=False)
    assert "task 'high' is an exact function of score" in caplog.text
    (line,) = report(table / "store")
    assert (line["row"], line["id"], line["column"]) == ("", "", "high")
    assert "derived_from: [score]" in line["problem"]
    declared = (tasks[0], Task(name="high", kind="binary", derived_from="score"))
    build(schema(table, tasks=declared), table / "store", progress=False)
    assert report(table / "store") == []


def test_row_aligned_arrays(table):
    data = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    np.save(table / "a.npy", data)
    s = schema(
        table,
        modalities=(
            Modality(name="a", kind="array", extractor={"file": "a.npy", "standardize": False}),
        ),
    )
    assert (build(s, table / "store", progress=False).nodes("a").x.numpy() == data).all()
    np.save(table / "a.npy", data[:59])
    with pytest.raises(DataError, match=r"modality 'a': 'a.npy' has 59 rows and the table 60"):
        build(s, table / "store", progress=False)
    (table / "a.npy").unlink()
    with pytest.raises(DataError, match=r"the row-aligned array 'a.npy' is not there"):
        build(s, table / "store", progress=False)


def test_numbers_in_columns_are_an_array(table):
    s = schema(table, modalities=(Modality(name="a", kind="array", columns=("age", "place")),))
    assert build(s, table / "store", progress=False).nodes("a").x.shape == (60, 2)


def test_a_modality_that_is_never_there_is_an_error(table):
    (table / "pic").rename(table / "elsewhere")
    with pytest.raises(
        DataError, match=r"modality 'picture' is missing in every training row \(the first problem"
    ):
        build(schema(table), table / "store", progress=False)


def test_settings_are_checked_before_anything_is_extracted(table, capsys):
    m = Modality(name="p", kind="image", columns="picture", extractor={"sice": 4})
    s = schema(table, modalities=(*schema(table).modalities, m))
    with pytest.raises(SchemaError, match="modality 'p': unknown extractor setting 'sice'"):
        build(s, table / "store")
    assert capsys.readouterr().err == ""


def test_other_folders_are_not_overwritten(table):
    (table / "mine").mkdir()
    (table / "mine/notes.txt").touch()
    with pytest.raises(StoreError, match="mine exists and is no graph store"):
        build(schema(table), table / "mine", progress=False)
    assert (table / "mine/notes.txt").exists()


def test_a_folder_of_files_named_by_id(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "clips"
    for i in range(20):
        (folder / f"frames/c{i}").mkdir(parents=True)
        for k in range(3):
            data = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(data).save(folder / f"frames/c{i}/{k}.jpg")
        for sub in ("audio", "text"):
            (folder / sub).mkdir(exist_ok=True)
        soundfile.write(folder / f"audio/c{i}.wav", 0.1 * rng.normal(size=8000), 8000)
        (folder / f"text/c{i}.txt").write_text(f"clip {i}")
    (folder / "audio/c4.wav").unlink()
    ids = [f"c{i}" for i in range(20)]
    pd.DataFrame({"id": ids, "y": np.arange(20) % 2}).to_csv(folder / "labels.csv", index=False)
    guessed, _ = infer_schema(folder, ("y",))
    store = build(guessed, tmp_path / "store", progress=False)
    assert store.ids() == ids
    assert store.nodes("audio").ptr.diff()[4] == 0
    assert (store.nodes("frames").ptr.diff() == 1).all()  # 0.12 s of pictures
    assert store.meta["modalities"]["text"]["state"]["vocabulary"][0] == "clip"
    assert report(tmp_path / "store") == []


def test_interrupted_builds_end_at_once_and_resume(table):
    # Enough of them that a machine in a hurry cannot finish before the signal comes.
    pictures(table, 3000)
    frame(3000).to_csv(table / "t.csv", index=False)
    schema(table).to_yaml(table / "s.yaml")
    command = [sys.executable, "-c", BUILD, str(table / "s.yaml"), str(table / "store"), "2"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # Started in the background, tests inherit that interrupts are ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stderr is not None
    process.stderr.readline()  # the first chunk is done
    os.killpg(process.pid, signal.SIGINT)
    process.stderr.read()
    assert process.wait(10) != 0
    subprocess.run(command, check=True, capture_output=True)
    assert len(build(schema(table), table / "store", progress=False)) == 3000


def test_scripts_need_no_main_guard(table):
    schema(table).to_yaml(table / "s.yaml")
    code = f"from gnnfusion import build\nprint('once')\nbuild({str(table / 's.yaml')!r}, "
    (table / "script.py").write_text(code + f"{str(table / 'store')!r}, workers=2)\n")
    pictures(table, 200)
    frame(200).to_csv(table / "t.csv", index=False)
    done = subprocess.run(
        [sys.executable, str(table / "script.py")], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["once"]
    assert "picture: 200/200 rows" in done.stderr


BUILD = """
import sys
from gnnfusion import build
build(sys.argv[1], sys.argv[2], workers=int(sys.argv[3]))
"""


def test_killed_builds_resume_to_the_same_bytes(tmp_path):
    pictures(tmp_path, 700, bad=[3, 500])
    frame(700).to_csv(tmp_path / "t.csv", index=False)
    s = schema(tmp_path)
    s = Schema(
        **{
            **s.__dict__,
            "modalities": (
                Modality(name="big", kind="image", columns="picture", extractor={"size": 96}),
                *s.modalities,
            ),
        }
    )
    s.to_yaml(tmp_path / "s.yaml")
    environment = {**os.environ, "GNNFUSION_CACHE": str(tmp_path / "cache2")}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def command(name, workers):
        return [
            sys.executable, "-c", BUILD, str(tmp_path / "s.yaml"), str(tmp_path / name / "store"),
            str(workers),
        ]  # fmt: skip

    start = time.monotonic()
    subprocess.run(command("unbroken", 2), check=True, **quiet)
    seconds = time.monotonic() - start
    store = tmp_path / "broken" / "store"
    chance = random.Random(0)
    kills = 0
    while kills < 5:
        process = subprocess.Popen(
            command("broken", 1 + kills % 3), env=environment, start_new_session=True, **quiet
        )
        try:
            process.wait(chance.uniform(0.4, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        else:  # it was done before the kill: start over, with half of the cache
            shutil.rmtree(store)
            for path in [p for p in (tmp_path / "cache2").rglob("*") if p.is_file()][::2]:
                path.unlink()
    subprocess.run(command("broken", 1), env=environment, check=True, **quiet)
    assert contents(store) == contents(tmp_path / "unbroken" / "store")
