import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from gnnfusion.errors import SchemaError
from gnnfusion.samples.infer import infer_schema
from gnnfusion.schema import Schema

WORDS = ["so", "very", "good", "plain", "film", "story", "the", "actor", "never", "smiles"]


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    n = 40
    for sub in ("pic", "snd", "steps"):
        (tmp_path / sub).mkdir()
    for i in range(n):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"pic/{i}.png")
        soundfile.write(tmp_path / f"snd/{i}.wav", rng.normal(size=100), 8000)
        np.savetxt(tmp_path / f"steps/{i}.csv", rng.normal(size=(5, 2)), delimiter=",")
    score = np.round(rng.normal(size=n), 2)
    pd.DataFrame(
        {
            "uid": [f"u{i}" for i in range(n)],
            "picture": [f"pic/{i}.png" for i in range(n)],
            "sound": [f"snd/{i}.wav" for i in range(n)],
            "steps": [f"steps/{i}.csv" for i in range(n)],
            "gone": [f"gone/{i}.mp4" for i in range(n)],
            "said": [" ".join(rng.choice(WORDS, 7)) for _ in range(n)],
            "age": rng.integers(20, 80, n),
            "town": rng.choice(["Rome", "Oslo"], n),
            "day": [f"2024-01-{i % 28 + 1:02d}" for i in range(n)],
            "nothing": "",
            "who": [f"Name{i}" for i in range(n)],
            "fold": rng.choice(["train", "val", "test"], n, p=[0.8, 0.1, 0.1]),
            "score": score,
            "good one": (score > 0).astype(int),
            "mood": rng.choice(["calm", "glad", "sad"], n),
        }
    ).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def test_kinds_are_guessed_from_content_with_reasons(table):
    schema, guesses = infer_schema(table, ("score", "good one", "mood"))
    assert {g.column: g.kind for g in guesses} == {
        "uid": "id", "picture": "image", "sound": "audio", "steps": "series", "gone": "video",
        "said": "text", "age": "tabular", "town": "tabular", "day": "tabular",
        "nothing": "ignored", "who": "ignored", "fold": "split", "score": "regression",
        "good one": "binary", "mood": "multiclass",
    }  # fmt: skip
    reasons = {g.column: g.reason for g in guesses}
    assert reasons["picture"] == "5 of 5 paths tried open as images"
    assert reasons["gone"] == "names end in .mp4, but none of 5 tried is there"
    assert "days since 1970" in reasons["day"]
    assert "an exact function of score" in reasons["good one"]
    assert schema.id == "uid"
    assert schema.split.column == "fold"
    assert schema.modality("columns").columns == ("age", "town", "day")
    assert schema.modality("columns").extractor == {"categorical": ["town"], "dates": ["day"]}
    assert schema.task("good_one").derived_from == ("score",)
    schema.to_yaml(table.parent / "s.yaml")
    assert Schema.from_yaml(table.parent / "s.yaml") == schema


def test_without_split_column_classes_are_stratified(table):
    pd.read_csv(table).drop(columns="fold").to_csv(table, index=False)
    schema, _ = infer_schema(table, ("mood",))
    assert schema.split.stratify == "mood"


def test_a_folder_is_read_too(tmp_path):
    for sub in ("audio", "text", "frames/a", "frames/b"):
        (tmp_path / sub).mkdir(parents=True)
    for name in "ab":
        soundfile.write(tmp_path / f"audio/{name}.wav", np.zeros(100), 8000)
        (tmp_path / f"text/{name}.txt").write_text("hello there " + name)
        Image.new("RGB", (8, 8)).save(tmp_path / f"frames/{name}/0.jpg")
    schema, guesses = infer_schema(tmp_path)
    kinds = {g.column: g.kind for g in guesses}
    assert kinds == {"id": "id", "audio": "audio", "text": "text", "frames": "video"}
    assert schema.modality("text").extractor == {"read_files": True}


def test_bad_requests_are_explained(table):
    with pytest.raises(SchemaError, match="no column 'mod'"):
        infer_schema(table, ("mod",))
    with pytest.raises(SchemaError, match="there is no table"):
        infer_schema(table.parent / "u.csv")
