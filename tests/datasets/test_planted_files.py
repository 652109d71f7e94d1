import csv
import hashlib
import json
import wave

import numpy as np
import pytest

from gnnfusion import datasets
from gnnfusion.datasets import planted_clips, planted_media
from gnnfusion.errors import UsageError


def digest(folder):
    h = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        h.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return h.hexdigest()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return datasets.load("planted", folder / "a", rows=120)


@pytest.fixture(scope="module")
def rows(clips):
    with (clips.base / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_clips_are_the_same_bytes_every_time(clips, tmp_path):
    again = datasets.load("planted", tmp_path / "b", rows=120)
    other = datasets.load("planted", tmp_path / "c", rows=120, seed=1)
    assert digest(again.base) == digest(clips.base)
    assert digest(other.base) != digest(clips.base)


def test_every_file_decodes(clips, rows):
    import av

    seen = 0
    for row in rows[:30]:
        if row["frames"]:
            with av.open(str(clips.base / row["frames"])) as container:
                frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
            assert len(frames) == planted_media.FRAMES
            assert frames[0].shape == (48, 48, 3)
            seen += 1
        if row["audio"]:
            with wave.open(str(clips.base / row["audio"])) as file:
                assert file.getframerate() == 8000
                assert file.getnframes() == 9000
    assert seen


def test_gaps_splits_and_columns(clips, rows):
    assert len(rows) == 120
    splits = [r["split"] for r in rows]
    assert [splits.count(s) for s in ("train", "valid", "test")] == [84, 18, 18]
    for column in ("frames", "audio", "text"):
        assert 0.02 < np.mean([not r[column] for r in rows]) < 0.25
    for task in clips.tasks:
        gaps = [[not r[c] for c in task.columns] for r in rows]
        assert all(len(set(g)) == 1 for g in gaps)  # a box is there whole or not at all
        assert 0.05 < np.mean([g[0] for g in gaps]) < 0.3
    modalities = [m.columns for m in clips.modalities]
    assert all(any(r[c] for cs in modalities for c in cs) for r in rows)


def test_boxes_lie_in_the_frame_and_hold_the_object():
    thing = planted_media.Thing(1, 0.4, 0.6, 0.3, 0.25, speed=0.4, angle=1.0)
    rng = np.random.default_rng(0)
    middle = planted_media.draw([thing], 1.0, rng)[planted_media.FRAMES // 2].astype(float)
    blue = (middle[..., 2] > 180) & (middle[..., 0] < 90)
    found = [np.flatnonzero(blue.any(axis=a)) for a in (0, 1)]
    x0, y0, x1, y1 = (v * 48 for v in thing.box)
    for (low, high), at in zip(((x0, x1), (y0, y1)), found, strict=True):
        assert abs(at[0] - low) <= 1
        assert abs(at[-1] + 1 - high) <= 1
    for frame in range(planted_media.FRAMES):
        x, y = thing.centre(frame)
        assert 0.15 - 1e-9 <= x <= 0.85 + 1e-9
        assert 0.125 - 1e-9 <= y <= 0.875 + 1e-9


def test_labels_follow_what_can_be_seen_and_heard(clips, rows):
    """Loudness is what the sound has; the look is in the event; all within the frame."""
    heard, said = [], []
    for row in rows:
        if row["x0"]:
            box = [float(row[c]) for c in ("x0", "y0", "x1", "y1")]
            assert 0 <= box[0] < box[2] <= 1
            assert 0 <= box[1] < box[3] <= 1
        if row["audio"] and row["loudness"]:
            with wave.open(str(clips.base / row["audio"])) as file:
                sound = np.frombuffer(file.readframes(-1), "<i2") / 32767
            heard.append(20 * np.log10(np.sqrt((sound**2).mean())))
            said.append(float(row["loudness"]))
    assert np.corrcoef(heard, said)[0, 1] > 0.8


def test_truth_is_symmetric_and_names_the_schema(clips):
    truth = json.loads((clips.base / "truth.json").read_text())
    related = np.array(truth["related"])
    assert truth["tasks"] == list(clips.task_names)
    assert truth["modalities"] == list(clips.modality_names)
    assert np.array_equal(related, related.T)
    assert not related.diagonal().any()
    pairs = {frozenset((truth["tasks"][i], truth["tasks"][j])) for i, j in np.argwhere(related)}
    assert pairs == {
        frozenset(p) for p in (("event", "alarm"), ("alarm", "loudness"), ("loudness", "speed"))
    }
    assert np.array(truth["modality_task"]).any(axis=0).all()  # every task can be told


def test_factors_are_independent_of_gaps_asked_for(tmp_path):
    full = datasets.load(
        "planted", tmp_path / "f", rows=20, missing_modalities=0.0, missing_labels=0.0
    )
    with (full.base / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert all(r["frames"] and r["audio"] and r["text"] and r["event"] for r in table)


def test_too_few_rows():
    with pytest.raises(UsageError, match="at least 20 rows"):
        datasets.load("planted", rows=3)
    assert planted_clips.truth()["tasks"][0] == "event"


def test_planted_arrays_as_files(tmp_path):
    schema = datasets.load("planted_v1", tmp_path / "a", modality_missing=0.3, label_missing=0.2)
    data = datasets.planted_arrays(modality_missing=0.3, label_missing=0.2)
    with (schema.base / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    for m in data.modalities:
        stored = np.load(schema.base / f"{m}.npy")
        assert np.array_equal(np.isnan(stored).all(axis=(1, 2)), ~data.present[m])
        assert np.array_equal(np.nan_to_num(stored), data.x[m])
    for t in data.tasks:
        assert [bool(r[t]) for r in table] == data.mask[t].tolist()
        known = [float(r[t]) for r in table if r[t]]
        assert np.array_equal(np.float32(known), data.y[t][data.mask[t]])
