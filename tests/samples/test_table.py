import numpy as np
import pandas as pd
import pytest

from gnnfusion.errors import DataError, SchemaError
from gnnfusion.samples.table import read_samples
from gnnfusion.schema import Context, Modality, Schema, Split, Task


def make(base, table="t.csv", **more):
    values = {
        "table": table,
        "id": "id",
        "modalities": (Modality(name="words", kind="text", columns="words"),),
        "tasks": (Task(name="y", kind="binary"),),
    }
    return Schema(**{**values, **more}, base=base)


def test_text_of_a_csv_is_not_destroyed(tmp_path):
    (tmp_path / "t.csv").write_text("id,words,y\n007,NA,1\n1.50,null,\n2,,0\n")
    samples = read_samples(make(tmp_path))
    assert samples.ids == ["007", "1.50", "2"]
    assert samples.column("words") == ["NA", "null", None]
    assert samples.column("y") == ["1", None, "0"]
    assert samples.folder == tmp_path


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl", "frame"])
def test_every_kind_of_table_gives_the_same_rows(tmp_path, kind):
    frame = pd.DataFrame({"id": ["a", "b"], "words": ["x, y", None], "y": ["1", "0"]})
    path = tmp_path / f"t.{kind}"
    if kind in ("csv", "tsv"):
        frame.to_csv(path, sep="\t" if kind == "tsv" else ",", index=False)
    elif kind == "parquet":
        frame.to_parquet(path)
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    samples = read_samples(make(tmp_path), frame if kind == "frame" else path)
    assert samples.ids == ["a", "b"]
    assert samples.column("words") == ["x, y", None]
    assert samples.column("y") == ["1", "0"]


def test_json_lines_keep_whole_numbers_beside_gaps(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"id": 7, "words": "007"}\n\n{"id": 8, "y": 1}\n')
    samples = read_samples(make(tmp_path, "t.jsonl"))
    assert samples.ids == ["7", "8"]
    assert samples.column("words") == ["007", None]


def test_whole_ids_of_a_parquet_table_have_no_point(tmp_path):
    pd.DataFrame({"id": [1.0, 2.0], "words": "w", "y": 1}).to_parquet(tmp_path / "t.parquet")
    assert read_samples(make(tmp_path, "t.parquet")).ids == ["1", "2"]


def test_a_folder_of_files_named_by_id_is_a_table(tmp_path):
    for name in ("frames/a", "frames/b", "audio", "text"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "frames/a/1.jpg").touch()
    (tmp_path / "audio/a.wav").touch()
    (tmp_path / "text/b.txt").write_text("hello")
    schema = make(
        tmp_path, ".", modalities=(Modality(name="m", kind="text", columns="text"),), tasks=()
    )
    samples = read_samples(schema)
    assert samples.ids == ["a", "b"]
    assert samples.column("frames") == ["frames/a", "frames/b"]
    assert samples.column("audio") == ["audio/a.wav", None]
    assert samples.column("text") == [None, "text/b.txt"]
    (tmp_path / "labels.csv").write_text("id,y\nb,1\nc,0\n")
    samples = read_samples(schema)
    assert samples.ids == ["b", "c"]
    assert samples.column("text") == ["text/b.txt", None]
    (tmp_path / "text/b.md").touch()
    with pytest.raises(DataError, match=r"id 'b' has two files in 'text'.*keep one"):
        read_samples(schema)


def test_missing_columns_are_named_with_who_wants_them(tmp_path):
    (tmp_path / "t.csv").write_text("id,words\n1,a\n")
    with pytest.raises(SchemaError, match=r"no column 'y' \(task 'y'\); it has id, words"):
        read_samples(make(tmp_path))
    assert len(read_samples(make(tmp_path), optional=["y"])) == 1
    for more in (
        {"split": Split(column="fold")},
        {"split": Split(group="fold")},
        {"context": Context(group="fold", order="id")},
        {"id": "fold"},
    ):
        with pytest.raises(SchemaError, match="no column 'fold'"):
            read_samples(make(tmp_path, tasks=(), **more))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,words,y\na,w,1\na,w,0\n", "row 1: id 'a' in column 'id' is already that of row 0"),
        ("id,words,y\na,w,1\n,w,0\n", "row 1: the id in column 'id' is empty"),
        ("id,words,y\n", "the table has no rows"),
    ],
)
def test_bad_tables_are_explained(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_samples(make(tmp_path))


def test_broken_files_are_explained(tmp_path):
    with pytest.raises(SchemaError, match="there is no table"):
        read_samples(make(tmp_path))
    (tmp_path / "t.csv").write_bytes(b"id,words,y\n1,\xff\xfe\xfa,1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_samples(make(tmp_path))
    (tmp_path / "t.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"t\.parquet cannot be read as a table"):
        read_samples(make(tmp_path, "t.parquet"))
    (tmp_path / "t.jsonl").write_text('{"id": 1}\n{')
    with pytest.raises(DataError, match=r"line 2 of t\.jsonl"):
        read_samples(make(tmp_path, "t.jsonl"))
    (tmp_path / "t.xyz").touch()
    with pytest.raises(SchemaError, match=r"t\.xyz is not a table this reads"):
        read_samples(make(tmp_path, "t.xyz"))


def test_rows_without_an_id_column_are_numbered(tmp_path):
    frame = pd.DataFrame({"words": ["a", "b"], "y": [0, np.nan]}, index=[5, 9])
    samples = read_samples(make(tmp_path, id=None), frame)
    assert samples.ids == ["0", "1"]
    assert samples.column("y") == [0.0, None]


def test_columns_of_a_frame_may_be_numbers_but_not_twice_the_same(tmp_path):
    schema = make(
        tmp_path, id=None, tasks=(), modalities=(Modality(name="m", kind="text", columns="0"),)
    )
    assert read_samples(schema, pd.DataFrame([["a"], ["b"]])).column("0") == ["a", "b"]
    with pytest.raises(SchemaError, match="two columns '0'"):
        read_samples(schema, pd.DataFrame([["a", "b"]], columns=["0", "0"]))
