"""Several runs as one: averages by hand, weights that find the better run, refusals."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from small_runs import small_config
from small_tables import built

from gnnfusion.errors import UsageError
from gnnfusion.schema import Task
from gnnfusion.training.ensemble import _least_loss, check_alike, combine, fit_weights
from gnnfusion.training.fit import train
from gnnfusion.training.predict import predict


def task(kind):
    return Task(name="t", kind=kind, columns=("a", "b") if kind == "multilabel" else ("t",))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    with built(folder) as (frame, store):
        runs = [
            train(store, folder / f"run{s}", small_config(epochs=1, seed=s), logs=False)
            for s in range(2)
        ]
        frame[frame.fold == "test"].to_csv(folder / "new.csv", index=False)
        yield folder, store, runs


def read(runs, folder, **more):
    return predict(runs, folder / "new.csv", workers=1, device="cpu", **more)


def test_columns_are_means_of_the_runs(trained):
    folder, store, runs = trained
    one, two, both = (read(r, folder) for r in (runs[0], [runs[1]], runs))
    assert list(both.columns) == list(one.columns)
    numbers = [c for c in one.columns if "_p_" in c or c in ("point_x", "point_y", "score")]
    np.testing.assert_allclose(both[numbers], (one[numbers] + two[numbers]) / 2, atol=1e-6)
    classes = list(store.classes("mood"))
    likely = both[[f"mood_p_{c}" for c in classes]].to_numpy().argmax(1)
    assert both["mood"].tolist() == [classes[c] for c in likely]


def test_a_run_twice_is_the_run(trained):
    folder, _, runs = trained
    twice, once = read([runs[0]] * 2, folder), read(runs[0], folder)
    pd.testing.assert_frame_equal(twice, once, check_dtype=False, atol=1e-6)


def test_fitted_weights_are_shares_and_used(trained):
    folder, store, runs = trained
    weights = fit_weights(runs, "cpu")
    assert set(weights) == set(store.schema.task_names)
    for share in weights.values():
        assert share.sum() == pytest.approx(1)
        assert (share >= 0).all()
    one, two = (read(r, folder)["score"] for r in runs)
    expected = weights["score"][0] * one + weights["score"][1] * two
    np.testing.assert_allclose(read(runs, folder, weights="stack")["score"], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "ordinal", "multilabel", "regression"])
def test_stacking_prefers_who_is_right(kind):
    rng = np.random.default_rng(0)
    if kind == "regression":
        y = rng.standard_normal((200, 1))
        good, bad = (y + 0.1 * rng.standard_normal(y.shape), rng.standard_normal(y.shape))
        parts = [(bad, None), (good, None)]
    elif kind == "multilabel":
        y = rng.integers(0, 2, (200, 2))
        parts = [(y, rng.random((200, 2))), (y, np.where(y, 0.9, 0.1))]
    else:
        y = rng.integers(0, 2 if kind == "binary" else 3, 200)
        p = np.full((200, y.max() + 1), 0.05)
        p[np.arange(200), y] = 0.9
        parts = [(y, rng.dirichlet(np.ones(p.shape[1]), 200)), (y, p)]
    assert _least_loss(task(kind), y, parts)[1] > 0.9


def test_stacking_is_never_worse_than_equal_weights_where_it_is_fitted():
    rng = np.random.default_rng(1)
    y = rng.standard_normal((80, 1))
    parts = [(y + s * rng.standard_normal(y.shape), None) for s in (0.5, 1.0, 2.0)]
    stacked, _ = combine(task("regression"), parts, _least_loss(task("regression"), y, parts))
    equal, _ = combine(task("regression"), parts)
    assert ((stacked - y) ** 2).mean() <= ((equal - y) ** 2).mean() + 1e-9


def test_ordinal_means_take_the_median_class():
    p = np.array([[0.4, 0.2, 0.4], [0.6, 0.3, 0.1]])
    predicted, _ = combine(task("ordinal"), [(np.zeros(2), p)] * 2)
    assert predicted.tolist() == [1, 0]


def test_what_does_not_go_together_is_refused(trained):
    folder, _, runs = trained
    with pytest.raises(UsageError, match="no run is named"):
        check_alike([])
    other = SimpleNamespace(path="other", schema=runs[0].schema.with_tasks([task("binary")]))
    with pytest.raises(UsageError, match="other has other tasks than"):
        check_alike([runs[0], other])
    relabelled = SimpleNamespace(path="re", schema=runs[0].schema, features={"tasks": {}})
    with pytest.raises(UsageError, match="re has other classes than"):
        check_alike([runs[0], relabelled])
    with pytest.raises(UsageError, match="unknown weights 'best'; use equal or stack"):
        read(runs, folder, weights="best")


def test_a_refitted_run_cannot_be_weighed(trained, tmp_path):
    _, store, runs = trained
    refitted = train(store, tmp_path / "run", small_config(epochs=1, refit=True), logs=False)
    with pytest.raises(UsageError, match=r"was trained on its validation rows \(refit\)"):
        fit_weights([runs[0], refitted], "cpu")
