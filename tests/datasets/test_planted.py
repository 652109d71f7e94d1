import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnfusion.datasets.planted import PlantedSpec, planted_arrays
from gnnfusion.errors import UsageError

SHARE_01, SHARE_23 = {"t0", "t1", "t2", "t7"}, {"t3", "t4", "t5", "t8"}


def same(a, b):
    return all(np.array_equal(a.x[m], b.x[m]) for m in a.x) and all(
        np.array_equal(a.y[t], b.y[t]) for t in a.y
    )


def test_planted_v1_is_as_the_design_fixes_it():
    data = planted_arrays()
    assert data.tasks == tuple(f"t{t}" for t in range(10))
    assert data.modalities == ("m0", "m1", "m2")
    assert all(x.shape == (600, 6, 12) and x.dtype == np.float32 for x in data.x.values())
    assert np.bincount(data.split).tolist() == [300, 0, 300]
    assert all(m.all() for m in data.mask.values())
    assert all(p.all() for p in data.present.values())
    assert (data.truth["shown"].sum(axis=1) == 4).all()
    for i, a in enumerate(data.tasks):
        for j, b in enumerate(data.tasks):
            together = {a, b} <= SHARE_01 or {a, b} <= SHARE_23
            assert data.truth["related"][i, j] == (together and a != b)
    assert data.truth["negations"] == [("t0", "t7")]
    assert data.truth["duplicates"] == [("t3", "t8")]
    assert data.truth["noise_tasks"] == ["t9"]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_same_seed_same_bytes_and_another_seed_others(seed):
    small = {"train": 20, "test": 5}
    assert same(planted_arrays(seed=seed, **small), planted_arrays(seed=seed, **small))
    assert not same(planted_arrays(seed=seed, **small), planted_arrays(seed=seed + 1, **small))


@given(seed=st.integers(0, 1000), hard=st.booleans())
@settings(max_examples=15, deadline=None)
def test_truth_is_consistent(seed, hard):
    data = planted_arrays(seed=seed, hard=hard, train=10, test=5)
    truth = data.truth
    assert np.array_equal(truth["related"], truth["related"].T)
    assert not truth["related"].diagonal().any()
    uses = truth["loadings"] != 0
    assert np.array_equal(truth["modality_task"], (truth["shown"].astype(int) @ uses.T) > 0)
    lengths = np.linalg.norm(truth["loadings"], axis=1)
    assert np.allclose(lengths[:9], 1)
    assert lengths[9] == 0
    for a, b in truth["hard_pairs"]:
        i, j = data.tasks.index(a), data.tasks.index(b)
        assert truth["related"][i, j]
        assert abs(truth["loadings"][i] @ truth["loadings"][j]) < 1e-9


def test_realised_label_correlations_are_the_expected_ones():
    """With n rows a correlation has standard error at most n ** -0.5; four of them bound all 45."""
    rows = 20_000
    data = planted_arrays(train=rows, test=0, features=1, nodes=1)
    found = np.corrcoef(np.stack(list(data.y.values())))
    assert np.abs(found - data.truth["label_correlation"]).max() < 4 / np.sqrt(rows)
    # A copy correlates as its label noise implies: 1 / (1 + 0.5 ** 2).
    assert found[3, 8] == pytest.approx(0.8, abs=0.02)
    assert found[0, 7] == pytest.approx(-0.8, abs=0.02)
    assert np.allclose(data.truth["signal"]["t7"], -data.truth["signal"]["t0"])
    assert data.truth["signal"]["t0"].std() == pytest.approx(1, abs=0.02)
    assert np.allclose([y.std() for y in data.y.values()], np.sqrt(1.25), atol=0.03)


def test_feature_noise_is_in_deviations_of_the_signal():
    clean = planted_arrays(feature_noise=0.0)
    noisy = planted_arrays(feature_noise=2.0)
    for m in clean.x:
        ratio = (noisy.x[m] - clean.x[m]).std() / clean.x[m].std()
        assert ratio == pytest.approx(2, rel=0.02)


def test_changing_one_parameter_leaves_the_rest():
    base = planted_arrays()
    other = planted_arrays(label_noise=0.1, label_missing=0.5)
    assert np.array_equal(base.x["m0"], other.x["m0"])
    assert np.array_equal(base.truth["signal"]["t4"], other.truth["signal"]["t4"])


def test_label_patterns():
    train = slice(0, 300)
    masks = {
        p: np.stack([*planted_arrays(label_missing=0.4, label_pattern=p).mask.values()], axis=1)
        for p in ("rows", "random", "disjoint")
    }
    assert all(m[300:].all() for m in masks.values())
    assert set(masks["rows"][train].sum(axis=1)) == {0, 10}
    assert masks["random"][train].mean() == pytest.approx(0.6, abs=0.05)
    assert set(masks["disjoint"][train].sum(axis=1)) == {1}
    hidden = planted_arrays(label_missing=0.4)
    assert all((hidden.y[t][~hidden.mask[t]] == 0).all() for t in hidden.tasks)


def test_modality_patterns_leave_every_row_something():
    for pattern in ("rows", "random", "disjoint"):
        data = planted_arrays(modality_missing=0.6, modality_pattern=pattern)
        present = np.stack(list(data.present.values()), axis=1)
        assert present.any(axis=1).all()
        assert not present.all()
        assert all((data.x[m][~data.present[m]] == 0).all() for m in data.modalities)
        if pattern == "disjoint":
            assert set(present.sum(axis=1)) == {1}
        if pattern == "rows":
            assert set(present.sum(axis=1)) == {1, 3}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"noise": 1}, "no parameter 'noise'"),
        ({"preset": "v9"}, "no planted preset 'v9'"),
        ({"label_missing": 1.0}, r"must be in \[0, 1\)"),
        ({"label_pattern": "some"}, "label_pattern must be one of rows, random, disjoint"),
        ({"tasks": [(9,)]}, "factor outside"),
        ({"tasks": [(0,), (1,)], "copies": {1: 0}}, "must use the same factors"),
        ({"train": 0}, "at least 1"),
    ],
)
def test_bad_parameters(wrong, says):
    with pytest.raises(UsageError, match=says):
        planted_arrays(**wrong)


def test_other_tasks_drop_the_presets_copies():
    data = planted_arrays(tasks=[(0,), (0, 5)], train=5, test=5)
    assert data.truth["duplicates"] == data.truth["negations"] == []
    assert data.truth["related"][0, 1]
    assert PlantedSpec().copies == {8: 3}
