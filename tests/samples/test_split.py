import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnfusion.errors import DataError, SchemaError
from gnnfusion.samples.split import split_rows
from gnnfusion.schema import Modality, Schema, Split, Task


def make(**split):
    return Schema(
        modalities=(Modality(name="m", kind="text", columns="m"),),
        tasks=(Task(name="t", kind="multiclass", columns="label"),),
        split=Split(**split),
    )


def ids(n):
    return [f"r{i}" for i in range(n)]


def test_a_column_of_names_is_followed():
    names = ["train", "Val", "validation", "dev", "valid", " test ", "TRAIN"]
    found = split_rows(make(column="s"), pd.DataFrame({"s": names}), ids(7))
    assert found.dtype == np.uint8
    assert found.tolist() == [0, 1, 1, 1, 1, 2, 0]


def test_bad_split_columns_are_explained():
    with pytest.raises(DataError, match=r"row 1 \(id 'r1'\): column 's' says 'trian'"):
        split_rows(make(column="s"), pd.DataFrame({"s": ["train", "trian"]}), ids(2))
    with pytest.raises(DataError, match=r"row 0 \(id 'r0'\): column 's' says ''"):
        split_rows(make(column="s"), pd.DataFrame({"s": [None, "train"]}), ids(2))
    with pytest.raises(DataError, match="the train split is empty; check column 's'"):
        split_rows(make(column="s"), pd.DataFrame({"s": ["test", "valid"]}), ids(2))
    with pytest.raises(SchemaError, match=r"no column 'g' \(split group\)"):
        split_rows(make(group="g"), pd.DataFrame({"s": ["a"]}), ids(1))


@pytest.mark.parametrize("more", [{}, {"group": "g"}])
def test_a_split_that_gets_no_row_is_an_error(more):
    frame = pd.DataFrame({"g": ["a"] * 3})
    with pytest.raises(DataError, match=r"split is empty: [13] (rows|groups) are too few"):
        split_rows(make(**more), frame, ids(3))


@given(n=st.integers(20, 300), seed=st.integers(0, 5), train=st.sampled_from([0.5, 0.7, 1.0]))
@settings(max_examples=30, deadline=None)
def test_ratios_are_met_whatever_the_order_of_rows(n, seed, train):
    rest = (1 - train) / 2
    schema = make(ratios={"train": train, "valid": rest, "test": rest}, seed=seed)
    frame = pd.DataFrame({"x": range(n)})
    found = split_rows(schema, frame, ids(n))
    assert np.abs(np.bincount(found, minlength=3) - n * np.array([train, rest, rest])).max() <= 1
    order = np.random.default_rng(seed).permutation(n)
    again = split_rows(schema, frame.iloc[order], [ids(n)[i] for i in order])
    assert (again == found[order]).all()


def test_another_seed_is_another_split():
    frame = pd.DataFrame({"x": range(100)})
    a, b = (split_rows(make(seed=s), frame, ids(100)) for s in (0, 1))
    assert (a != b).any()


@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=6).filter(lambda c: sum(c) >= 30),
    seed=st.integers(0, 3),
    name=st.sampled_from(["label", "t"]),
)
@settings(max_examples=40, deadline=None)
def test_strata_are_shared_in_proportion(counts, seed, name):
    labels = np.repeat([f"c{i}" for i in range(len(counts))], counts)
    frame = pd.DataFrame({"label": labels})
    found = split_rows(make(stratify=name, seed=seed), frame, ids(len(labels)))
    shares = np.array([0.7, 0.15, 0.15])
    for i, count in enumerate(counts):
        got = np.bincount(found[labels == f"c{i}"], minlength=3)
        assert got[0] >= 1  # every class can be learned
        assert np.abs(got - count * shares).max() <= 2
    total = np.bincount(found, minlength=3)
    assert np.abs(total - len(labels) * shares).max() <= max(2, 0.05 * len(labels))


def test_numbers_are_stratified_by_quantiles():
    values = np.random.default_rng(0).normal(size=400)
    found = split_rows(make(stratify="label"), pd.DataFrame({"label": values}), ids(400))
    means = [values[found == s].mean() for s in range(3)]
    assert max(means) - min(means) < 0.1


@given(
    groups=st.lists(st.integers(0, 25), min_size=60, max_size=200).filter(
        lambda g: len(set(g)) > 15
    ),
    stratify=st.sampled_from([None, "label"]),
)
@settings(max_examples=30, deadline=None)
def test_no_group_is_in_two_splits(groups, stratify):
    frame = pd.DataFrame({"g": groups, "label": [g % 2 for g in groups]})
    found = split_rows(make(group="g", stratify=stratify), frame, ids(len(groups)))
    for g in set(groups):
        assert len(set(found[np.array(groups) == g])) == 1
    shares = np.bincount(found, minlength=3) / len(groups)
    assert np.abs(shares - [0.7, 0.15, 0.15]).max() < 0.2


def test_rows_without_a_group_are_their_own():
    frame = pd.DataFrame({"g": [None] * 50})
    found = split_rows(make(group="g"), frame, ids(50))
    assert set(found) == {0, 1, 2}
