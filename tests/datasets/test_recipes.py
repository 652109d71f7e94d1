"""Recipes on small raw data made here, and, where they are, on the real ones."""

import csv
from collections import Counter

import numpy as np
import pytest
import soundfile
from PIL import Image

from gnnfusion import datasets
from gnnfusion.datasets import utd_mhad
from gnnfusion.errors import DataError, UsageError


def table(schema):
    with (schema.base / "table.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setenv("GNNFUSION_DATA", str(tmp_path / "raw"))

    def make(name):
        folder = tmp_path / "raw" / name
        folder.mkdir(parents=True)
        return folder

    return make


@pytest.fixture
def speech(raw):
    folder = raw("fsdd") / "recordings"
    folder.mkdir()
    for digit in range(10):
        for speaker in ("george", "theo"):
            for index in range(14):
                path = folder / f"{digit}_{speaker}_{index}.wav"
                soundfile.write(path, np.zeros(400), 8000, subtype="PCM_16")
    return folder


def test_mosi_labels(raw):
    folder = raw("mosi")
    lines = ["id,video,segment,start_s,end_s,transcript,sentiment,split"]
    lines += ["a_1,a,1,0.0,1.0,GOOD FILM,1.4,train", "a_2,a,2,1.0,2.0,IT IS,0.0,train"]
    lines += ["b_1,b,1,0.0,1.0,BAD,-2.0,test"]
    (folder / "samples.csv").write_text("\n".join(lines) + "\n")
    np.save(folder / "audio.npy", np.ones((3, 73), np.float32))
    rows = table(datasets.load("mosi"))
    assert [r["polarity"] for r in rows] == ["1", "", "0"]
    assert [float(r["intensity"]) for r in rows] == [1.4, 0, 2]
    assert rows[0]["text"] == "good film"
    assert datasets.load("mosi").modality_names == ("words", "text", "audio")
    assert datasets.load("mosi", tune=False).modality_names == ("text", "audio")
    np.save(folder / "audio.npy", np.ones((2, 73), np.float32))
    with pytest.raises(DataError, match=r"audio.npy has 2 rows and samples.csv 3"):
        datasets.load("mosi")


def test_digits_pair_within_split(speech):
    schema = datasets.load("fsdd_digits")
    rows = table(schema)
    assert Counter(r["split"] for r in rows) == {"train": 80, "valid": 100, "test": 100}
    owner = {}
    for row in rows:
        assert owner.setdefault(row["image"], row["split"]) == row["split"]
        assert row["id"].startswith(f"{row['digit']}_{row['speaker']}_")
        assert int(row["parity"]) == int(row["digit"]) % 2
        assert int(row["above_4"]) == (int(row["digit"]) > 4)
    from sklearn.datasets import load_digits

    data = load_digits()
    for row in rows[::40]:
        index = int(row["image"][7:11])
        assert data.target[index] == int(row["digit"])
        with Image.open(schema.base / row["image"]) as image:
            pixels = np.asarray(image)
        assert np.allclose(pixels, data.images[index] * 255 / 16, atol=0.5)
    assert table(datasets.load("fsdd_digits", seed=1)) != rows
    assert all(not r["image"] for r in table(datasets.load("fsdd_digits", images=False)))


def test_digits_name_a_stray_file(speech):
    (speech / "readme.wav").write_bytes(b"")
    with pytest.raises(DataError, match="'readme' is not named digit_speaker_index"):
        datasets.load("fsdd_digits")


def test_houses_lines_belong_to_photos(raw):
    folder = raw("houses")
    (folder / "HousesInfo.txt").write_text("4 4 4053 85255 869500\n3 2.5 1000 85255 22000\n")
    for house in (1, 2):
        for room in ("bedroom", "bathroom", "kitchen", "frontal"):
            Image.new("RGB", (8, 8)).save(folder / f"{house}_{room}.jpg")
    schema = datasets.load("houses")
    rows = table(schema)
    assert [r["id"] for r in rows] == ["1", "2"]
    assert float(rows[1]["log_price"]) == pytest.approx(np.log(22000))
    assert float(rows[1]["bathrooms"]) == 2.5
    assert (schema.base / rows[1]["kitchen"]).is_file()
    (folder / "2_kitchen.jpg").unlink()
    with pytest.raises(DataError, match=r"lacks 2_kitchen\.jpg"):
        datasets.load("houses")


@pytest.fixture
def actions(raw):
    folder = raw("utd_mhad")
    ids = [f"a{a}_s{s}_t1" for a in (1, 22) for s in (1, 2, 7)]
    labels = [[int(p[1:]) for p in i.split("_")] for i in ids]
    rng = np.random.default_rng(0)
    np.savez(
        folder / "skeleton_inertial.npz",
        ids=np.array(ids),
        y=np.array(labels, np.int16),
        skel=rng.normal(size=(60, 20, 3)).astype(np.float32),
        skel_len=np.full(6, 10),
        iner=rng.normal(size=(120, 6)).astype(np.float32),
        iner_len=np.full(6, 20),
    )
    np.savez(folder / "depth.npz", ids=np.array(ids), depth=np.ones((6, 8, 60, 80), np.uint8))
    return folder


def test_actions(actions):
    schema = datasets.load("utd_mhad")
    rows = table(schema)
    assert [r["split"] for r in rows] == ["train", "test", "valid"] * 2
    assert rows[3]["action"] == "jog"
    assert rows[3]["action_group"] == "legs"
    skeleton = np.load(schema.base / rows[0]["skeleton"])
    assert skeleton.shape == (10, 60)
    assert (skeleton.reshape(10, 20, 3)[0, utd_mhad.HIP_CENTRE] == 0).all()
    assert schema.modality_names == ("skeleton", "inertial")
    deep = datasets.load("utd_mhad", depth=True)
    assert np.load(deep.base / "depth.npy").shape == (6, 8, 60, 80)
    assert deep.modality_names == ("skeleton", "inertial", "depth")

    nodes = datasets.load("utd_mhad", joints="nodes", relative=False)
    with np.load(actions / "skeleton_inertial.npz") as given:
        first = given["skel"][:10]
    assert np.array_equal(np.load(nodes.base / rows[0]["skeleton"]), first)
    with pytest.raises(UsageError, match="use channels or nodes"):
        datasets.load("utd_mhad", joints="bones")


def test_groups_cover_every_action_once():
    grouped = [a for actions in utd_mhad.GROUPS.values() for a in actions]
    assert sorted(grouped) == sorted(utd_mhad.ACTIONS)
    assert len(utd_mhad.ACTIONS) == 27


def test_a_file_that_is_not_there_is_named(raw):
    raw("mosi")
    with pytest.raises(DataError, match=r"lacks samples.csv"):
        datasets.load("mosi")


# -- the real data ------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["mosi", "fsdd_digits", "houses", "utd_mhad"])
def test_real_data_agree_with_their_checksums(name, real):
    from gnnfusion.datasets.checksums import compare, expected
    from gnnfusion.datasets.registry import recipe

    assert compare(real(recipe(name).RAW), expected(name)) == []


@pytest.mark.real_data
def test_real_mosi(real):
    real("mosi")
    schema = datasets.load("mosi")
    rows = table(schema)
    assert Counter(r["split"] for r in rows) == {"train": 1284, "valid": 229, "test": 686}
    splits = {}
    for row in rows:
        assert splits.setdefault(row["video"], row["split"]) == row["split"]
    assert len(splits) == 93
    assert sum(r["polarity"] == "" for r in rows) == 96
    assert np.load(schema.base / "audio.npy").shape == (2199, 73)


@pytest.mark.real_data
def test_real_digits(real):
    real("fsdd")
    rows = table(datasets.load("fsdd_digits"))
    assert Counter(r["split"] for r in rows) == {"train": 2400, "valid": 300, "test": 300}
    assert {int(r["id"].split("_")[2]) for r in rows if r["split"] == "test"} == set(range(5))
    assert len({r["speaker"] for r in rows}) == 6
    assert Counter(r["accent"] for r in rows) == {
        "american": 1000, "german": 1000, "greek": 500, "french": 500,
    }  # fmt: skip
    owner = {}
    for row in rows:
        assert owner.setdefault(row["image"], row["split"]) == row["split"]


@pytest.mark.real_data
def test_real_houses(real):
    real("houses")
    rows = table(datasets.load("houses"))
    assert len(rows) == 535
    assert len({r["zip_code"] for r in rows}) == 49
    prices = [float(r["price"]) for r in rows]
    assert (min(prices), max(prices)) == (22_000, 5_858_000)


@pytest.mark.real_data
def test_real_actions(real):
    real("utd_mhad")
    schema = datasets.load("utd_mhad", depth=True)
    rows = table(schema)
    assert Counter(r["split"] for r in rows) == {"train": 323, "valid": 108, "test": 430}
    assert len({r["action"] for r in rows}) == 27
    assert sum(r["subject"] in {"s1", "s3", "s5", "s7"} for r in rows) == 431
    assert np.load(schema.base / "depth.npy", mmap_mode="r").shape == (861, 8, 60, 80)
