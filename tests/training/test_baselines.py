"""The simple readers: pooled features by hand, and scores that planted truth fixes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from random_stores import make_store
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gnnfusion import GraphStore, Modality, Schema, Split, Task, build
from gnnfusion.graphs.arrays import store_from_arrays
from gnnfusion.graphs.views import with_split
from gnnfusion.training.baselines import _fitted, baseline, pooled


def test_features_are_means_over_nodes_and_say_what_is_missing():
    store = make_store(("vector",), samples=6, missing=0.4)
    nodes, found = store.nodes("m0"), pooled(store)
    for row in range(6):
        own = nodes.x[nodes.ptr[row] : nodes.ptr[row + 1]].flatten(1).float()
        mean = own.mean(0) if len(own) else torch.zeros(own.shape[1])
        np.testing.assert_allclose(found[row, :-1], mean, atol=1e-6)
        assert found[row, -1] == (len(own) > 0)


def test_arrays_with_as_many_nodes_everywhere_keep_them_apart():
    """A mean over nodes would lose which of them says what."""
    x = np.random.default_rng(0).standard_normal((5, 3, 2)).astype(np.float32)
    nodes = [value if row != 2 else value[:0] for row, value in enumerate(x)]
    schema = Schema(
        modalities=(Modality(name="m", kind="array", columns=("m",)),),
        tasks=(Task(name="t", kind="regression"),),
    )
    store = store_from_arrays(schema, {"m": nodes}, {"t": np.arange(5.0)}, split=np.zeros(5, int))
    expected = x.reshape(5, 6)
    expected[2] = 0
    np.testing.assert_array_equal(pooled(store), np.column_stack([expected, [1, 1, 0, 1, 1]]))
    nodes[3] = nodes[3][:2]
    store = store_from_arrays(schema, {"m": nodes}, {"t": np.arange(5.0)}, split=np.zeros(5, int))
    assert pooled(store).shape == (5, 3)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    rng = np.random.default_rng(0)
    size, place, word = rng.random(240), rng.choice(["x", "y", "z"], 240), rng.random(240) > 0.5
    table = pd.DataFrame({
        "size": size, "place": place, "say": np.where(word, "good film", "bad film"),
        "number": 3 * size + (place == "y") + word, "kind": place, "yes": word,
        "grade": np.where(size > 0.7, "high", np.where(size > 0.3, "mid", "low")),
    })  # fmt: skip
    cells = Modality(
        name="cells", kind="tabular", columns=("size", "place"),
        extractor={"numeric": ["size"], "categorical": ["place"]},
    )  # fmt: skip
    text = Modality(name="text", kind="text", columns=("say",), extractor={"max_tokens": 4})
    tasks = (
        Task(name="number", kind="regression", columns=("number",)),
        Task(name="kind", kind="multiclass", columns=("kind",)),
        Task(name="yes", kind="binary", columns=("yes",)),
        Task(name="grade", kind="ordinal", columns=("grade",), classes=("low", "mid", "high")),
    )
    schema = Schema(modalities=(cells, text), tasks=tasks, split=Split(seed=0))
    folder = tmp_path_factory.mktemp("planted")
    return build(schema, folder / "store", table=table, progress=False)


@pytest.mark.parametrize("name", ["linear", "boosting"])
def test_what_pooled_features_tell_is_read(planted, name):
    found = baseline(planted, name, ("valid", "test"))
    assert set(found) == {"valid", "test"}
    scores = found["test"]
    assert scores["kind"]["accuracy"] == 1
    assert scores["yes"]["auroc"] == 1
    assert scores["number"]["r2"] > (0.999 if name == "linear" else 0.9)
    assert scores["grade"]["accuracy"] > 0.8


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_of_more_columns_than_rows_the_linear_reader_is_that_of_all_columns(kind):
    rng = np.random.default_rng(0)
    x, asked = rng.normal(size=(40, 90)), rng.normal(size=(30, 90))
    y = x[:, 0] + x[:, 1] if kind == "regression" else np.digitize(x[:, 0], [-0.4, 0.4])
    short = _fitted("linear", Task(name="y", kind=kind), [x], y)
    plain = make_pipeline(StandardScaler(), clone(short[-1])).fit(x, y)
    assert [type(s).__name__ for s in short][2:-1] == ["PCA"]
    for name in ("predict",) if kind == "regression" else ("predict", "predict_proba"):
        found, wanted = getattr(short, name)(asked), getattr(plain, name)(asked)
        np.testing.assert_allclose(found, wanted, atol=2e-3)


@pytest.mark.parametrize("name", ["linear", "boosting"])
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_a_modality_of_many_columns_drowns_no_other(name, kind):
    """Of 120 rows: 2,000 numbers that say nothing, and one that says all."""
    rng = np.random.default_rng(0)
    noise, told = rng.normal(size=(240, 1, 2000)), rng.normal(size=(240, 1, 1))
    y = told[:, 0, 0] if kind == "regression" else np.digitize(told[:, 0, 0], [-0.4, 0.4])
    schema = Schema(
        modalities=tuple(Modality(name=m, kind="array", columns=(m,)) for m in ("noise", "told")),
        tasks=(Task(name="y", kind=kind),),
    )
    nodes = {"noise": noise.astype(np.float32), "told": told.astype(np.float32)}
    store = store_from_arrays(schema, nodes, {"y": y}, split=np.repeat([0, 2], 120))
    found = baseline(store, name)["test"]["y"]
    assert found["r2" if kind == "regression" else "accuracy"] > 0.9


def test_two_modalities_that_say_half_each_are_read_together():
    rng = np.random.default_rng(0)
    x = {m: rng.normal(size=(240, 1, 3)).astype(np.float32) for m in ("a", "b")}
    schema = Schema(
        modalities=tuple(Modality(name=m, kind="array", columns=(m,)) for m in x),
        tasks=(Task(name="y", kind="regression"),),
    )
    y = x["a"][:, 0, 0] + x["b"][:, 0, 0]
    store = store_from_arrays(schema, x, {"y": y}, split=np.repeat([0, 2], 120))
    assert baseline(store, "linear")["test"]["y"]["r2"] > 0.99


def test_test_rows_choose_nothing(planted):
    """Without its test rows the store gives the same reader."""
    shuffled = with_split(planted, planted.split)
    rows = planted.rows("test")
    before = baseline(planted, "linear", ("valid",))
    target = shuffled.target("number")
    kept = target[rows].clone()
    try:
        target[rows] = 1e6
        assert baseline(shuffled, "linear", ("valid",)) == before
    finally:
        target[rows] = kept


@pytest.mark.parametrize("name", ["linear", "boosting"])
def test_labels_that_scikit_learn_refuses_are_read_as_far_as_they_go(planted, name):
    """But one class, and a class with a single row."""
    tensors = dict(planted.tensors)
    tensors["y/yes"] = torch.ones_like(tensors["y/yes"])
    rare = tensors["y/kind"].clone()
    fitted = planted.rows("train", "valid")
    rare[fitted] = rare[fitted].clamp_max(1)
    rare[fitted[0]] = 2
    tensors["y/kind"] = rare
    scores = baseline(GraphStore(planted.meta, tensors), name)["test"]
    assert scores["yes"]["accuracy"] == 1
    assert 0 <= scores["kind"]["accuracy"] <= 1
