import numpy as np
import pandas as pd
import pytest

from gnnfusion.errors import DataError
from gnnfusion.samples.targets import encode_targets
from gnnfusion.schema import Modality, Schema, Task


def encode(task, frame, split=None, **more):
    schema = Schema(modalities=(Modality(name="m", kind="text", columns="m"),), tasks=(task,))
    frame = pd.DataFrame(frame)
    split = np.zeros(len(frame), np.uint8) if split is None else np.array(split, np.uint8)
    ids = [f"r{i}" for i in range(len(frame))]
    return encode_targets(schema, frame, ids, split, **more)[task.name]


def test_classes_are_those_seen_in_training_sorted():
    t = encode(Task(name="y", kind="multiclass"), {"y": ["b", "a", None, "a", ""]})
    assert t.classes == ("a", "b")
    assert t.values.tolist() == [1, 0, 0, 0, 0]
    assert t.values.dtype == np.int32
    assert t.mask.tolist() == [1, 1, 0, 1, 0]
    t = encode(Task(name="y", kind="ordinal"), {"y": ["10", "9", "2"]})
    assert t.classes == ("2", "9", "10")


@pytest.mark.parametrize("cells", [[1, 0, 1], [1.0, 0.0, 1.0], ["1", "0", "1.0"], [1, 0, "1"]])
def test_numbers_are_the_same_class_however_written(cells):
    t = encode(Task(name="y", kind="binary", classes=("0", "1")), {"y": cells})
    assert t.values.tolist() == [1, 0, 1]


def test_labels_outside_their_classes_are_named():
    with pytest.raises(DataError, match=r"row 2 \(id 'r2'\), column 'c': label 'x' of task 'y'"):
        encode(
            Task(name="y", kind="multiclass", columns="c", classes=("a", "b")),
            {"c": ["a", "b", "x"]},
        )
    with pytest.raises(DataError, match=r"'x' .*not among its classes seen in training rows"):
        encode(Task(name="y", kind="multiclass"), {"y": ["a", "b", "x"]}, split=[0, 0, 2])


def test_problems_are_listed_instead_when_asked():
    found = []
    t = encode(
        Task(name="y", kind="multiclass"),
        {"y": ["a", "x", "b"]},
        classes={"y": ("a", "b")},
        problems=found,
    )
    assert t.mask.tolist() == [1, 0, 1]
    assert [(p.row, p.column) for p in found] == [(1, "y")]


def test_label_columns_may_be_absent_when_predicting():
    t = encode(Task(name="y", kind="regression"), {"x": [1, 2]}, classes={"y": ()})
    assert t.values.shape == (2, 1)
    assert not t.mask.any()


def test_regressions_may_have_several_columns_and_gaps():
    t = encode(
        Task(name="box", kind="regression", columns=("x", "y")),
        {"x": ["1.5", "NA", "3", "1.5"], "y": [2, 2, np.nan, 4]},
    )
    assert t.values.dtype == np.float32
    assert t.values.tolist() == [[1.5, 2], [0, 0], [0, 0], [1.5, 4]]
    assert t.mask.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("cell", "what"), [("inf", "is infinite"), (1e300, "is infinite"), ("abc", "is not a number")]
)
def test_bad_numbers_are_named(cell, what):
    with pytest.raises(DataError, match=rf"row 1 \(id 'r1'\), column 'y': label .* {what}"):
        encode(Task(name="y", kind="regression"), {"y": [1, cell]})


def test_multilabel_rows_are_whole_or_unlabelled():
    t = encode(
        Task(name="y", kind="multilabel", columns=("a", "b")),
        {"a": ["1", "true", "0"], "b": [0, None, 1]},
    )
    assert t.classes == ("a", "b")
    assert t.values.tolist() == [[1, 0], [0, 0], [0, 1]]
    assert t.mask.tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="neither 0 nor 1"):
        encode(Task(name="y", kind="multilabel", columns=("a",)), {"a": [2, 1]})


def test_tasks_that_cannot_be_learned_are_errors():
    with pytest.raises(DataError, match="task 'y' has one class in training rows \\('a'"):
        encode(Task(name="y", kind="multiclass"), {"y": ["a", "a", None]})
    with pytest.raises(DataError, match="task 'y' has one value in training rows \\(2, column"):
        encode(Task(name="y", kind="regression"), {"y": [2, 2.0, None]})
    with pytest.raises(DataError, match="task 'y' has no label in training rows"):
        encode(Task(name="y", kind="regression"), {"y": [None, 1.0]}, split=[0, 1])
    with pytest.raises(DataError, match="binary task 'y' has 3 classes"):
        encode(Task(name="y", kind="binary"), {"y": ["a", "b", "c"]})
