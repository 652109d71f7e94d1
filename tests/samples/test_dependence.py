import numpy as np
import pytest

from gnnfusion.samples.dependence import find_derived, undeclared
from gnnfusion.samples.targets import Targets
from gnnfusion.schema import Modality, Schema, Task

rng = np.random.default_rng(0)
X = rng.normal(size=300)
RATED = np.round(rng.uniform(-3, 3, 300) * 5) / 5  # repeated values, as mean ratings have


def find(**columns):
    targets = {}
    for name, values in columns.items():
        values = np.asarray(values)
        number = values.dtype.kind == "f"
        data = values.astype(np.float32)[:, None] if number else values.astype(np.int32)
        targets[name] = Targets(data, np.ones(len(values), np.uint8))
    return {d.task: d for d in find_derived(targets, np.zeros(len(values), np.uint8))}


@pytest.mark.parametrize("source", [X, RATED])
@pytest.mark.parametrize(
    "make",
    [
        lambda s: (s > 0).astype(int),
        lambda s: np.digitize(s, [-1, 0, 1]),
        lambda s: np.abs(s),
        lambda s: -2.5 * s + 1,
        lambda s: np.exp(s),
    ],
)
def test_functions_of_one_task_are_found(source, make):
    found = find(a=source, b=make(source))
    assert list(found) == ["b"]
    assert found["b"].sources == ("a",)


def test_functions_of_classes_are_found():
    digit = rng.integers(0, 10, 200)
    found = find(digit=digit, odd=digit % 2, big=(digit > 4).astype(int))
    assert {t: d.sources for t, d in found.items()} == {"odd": ("digit",), "big": ("digit",)}


def test_a_copy_is_named_once_and_as_such():
    found = find(a=RATED, b=RATED.copy())
    assert list(found) == ["b"]
    assert found["b"].note == "the same values"


def test_functions_of_two_tasks_are_found():
    a, b = rng.integers(0, 2, 200), rng.integers(0, 2, 200)
    assert find(a=a, b=b, xor=a ^ b)["xor"].sources == ("a", "b")
    y = rng.normal(size=300)
    found = find(x=X, y=y, total=X + y)
    assert {t: d.sources for t, d in found.items()} == {"total": ("x", "y")}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (X, rng.normal(size=300)),  # all values differ: determines anything
        (X, (rng.normal(size=300) > 0).astype(int)),
        (X, X + 0.1 * rng.normal(size=300)),
        (rng.integers(0, 2, 300), rng.integers(0, 2, 300)),
        (np.arange(300) % 2, (np.arange(300) == 7).astype(int)),  # one positive: may be chance
    ],
)
def test_chance_is_not_reported(a, b):
    assert not find(a=a, b=b)


def test_only_rows_with_both_labels_in_training_count():
    half = np.arange(300) % 2
    targets = {
        "a": Targets(X.astype(np.float32)[:, None], half.astype(np.uint8)),
        "b": Targets((X > 0).astype(np.int32), (1 - half).astype(np.uint8)),
    }
    assert not find_derived(targets, np.zeros(300, np.uint8))
    targets["b"] = Targets((X > 0).astype(np.int32), np.ones(300, np.uint8))
    assert find_derived(targets, np.zeros(300, np.uint8))
    assert not find_derived(targets, np.full(300, 2, np.uint8))


def test_declared_kin_are_left_out():
    def schema(**more):
        return Schema(
            modalities=(Modality(name="m", kind="text", columns="m"),),
            tasks=(Task(name="a", kind="regression"), Task(name="b", kind="binary", **more)),
        )

    found = list(find(a=X, b=(X > 0).astype(int)).values())
    assert undeclared(schema(), found) == found
    assert undeclared(schema(derived_from="a"), found) == []
