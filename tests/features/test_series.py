import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnfusion.errors import DataError
from gnnfusion.features import series

PLAIN = {"window": 8, "hop": 4, "standardize": False}


@pytest.fixture
def save(tmp_path, file):
    def make(name, data):
        np.save(tmp_path / name, data)
        return file(name)

    return make


def test_windows_of_channels_are_nodes(run, save):
    data = np.arange(40.0).reshape(20, 2)
    results, spec, _ = run("series", [save("a.npy", data), None], PLAIN | {"rate": 2})
    assert spec.shape == (2, 8)
    assert spec.position == ("time",)
    assert (results[0].x[1] == data[4:12].T).all()
    assert results[0].pos[:, 0].tolist() == [2, 4, 6, 8]
    assert len(results[1]) == 0


@given(
    length=st.integers(1, 60), window=st.integers(1, 20), hop=st.integers(1, 20),
    pad=st.sampled_from(["last", "zero"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_windows_cover_the_series_and_not_more(length, window, hop, pad):
    chosen = series.Settings(window=window, hop=hop, pad=pad)
    data = np.arange(1.0, length + 1)[:, None, None]
    nodes = series.windows(chosen, data, 1)
    last = (len(nodes) - 1) * hop
    assert last + window >= length
    assert len(nodes) == 1 or last - hop + window < length
    for k, x in enumerate(nodes.x[:, 0]):
        inside = x[: max(0, length - k * hop)]
        assert (inside == np.arange(k * hop + 1, k * hop + 1 + len(inside))).all()
        assert (x[len(inside) :] == (length if pad == "last" else 0)).all()


def test_joints_are_nodes_of_their_own(run, save):
    data = np.random.default_rng(0).normal(size=(8, 5, 3)).astype(np.float32)
    results, spec, _ = run("series", [save("a.npy", data)], PLAIN)
    assert spec.shape == (3, 8)
    assert spec.position == ("time", "index")
    assert results[0].pos[:, 1].tolist() == [0, 1, 2, 3, 4]
    assert (results[0].x[3] == data[:, 3].T).all()
    first = np.moveaxis(data, 0, -1)
    again, _, _ = run("series", [save("b.npy", first)], PLAIN | {"channels_first": True})
    assert (again[0].x == results[0].x).all()


def test_resampling_keeps_straight_lines(run, save):
    cells = [save(f"{n}.npy", np.linspace(0, 7, n)) for n in (1, 5, 8, 33)]
    results, _, _ = run("series", cells, PLAIN | {"resample": 8})
    for nodes in results[1:]:
        np.testing.assert_allclose(nodes.x[0, 0], np.arange(8), atol=1e-6)
    assert results[0].x.shape == (1, 1, 8)


def test_every_file_kind_is_read(run, file, tmp_path):
    data = np.round(np.random.default_rng(0).normal(size=(8, 2)), 3)
    np.save(tmp_path / "a.npy", data)
    np.savez(tmp_path / "a.npz", x=data)
    np.savez(tmp_path / "b.npz", x=data, y=data)
    frame = pd.DataFrame(data, columns=["p", "q"])
    frame.to_csv(tmp_path / "head.csv", index=False)
    frame.to_csv(tmp_path / "bare.csv", index=False, header=False)
    frame.to_parquet(tmp_path / "a.parquet")
    names = ["a.npy", "a.npz", "head.csv", "bare.csv", "a.parquet", "b.npz"]
    results, _, _ = run("series", [file(n) for n in names], PLAIN)
    for nodes in results[:5]:
        np.testing.assert_allclose(nodes.x[0].T, data, atol=1e-6)
    assert "choose one by `key:`" in results[5]
    results, _, _ = run("series", [file("b.npz")], PLAIN | {"key": "y"})
    assert len(results[0]) == 1


def test_channels_are_standardized_on_training_rows(run, save):
    rng = np.random.default_rng(0)
    train = [save(f"{k}.npy", rng.normal([5, -3], [2, 7], (50, 2))) for k in range(5)]
    results, _, state = run("series", train, {"window": 50, "hop": 50})
    x = np.concatenate([n.x for n in results])
    assert np.abs(x.mean((0, 2))).max() < 1e-5
    assert np.abs(x.std((0, 2)) - 1).max() < 1e-5
    assert state["mean"] == pytest.approx([5, -3], abs=1)


def test_bad_series_are_explained(run, save, file, tmp_path):
    good = save("good.npy", np.ones((9, 2)))
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    (tmp_path / "odd.csv").write_text("1,2\n3\n")
    cells = [
        save("nan.npy", np.array([[1, np.nan]])), save("inf.npy", np.array([[1, np.inf]])),
        save("wide.npy", np.ones((9, 3))), file("bad.npy"), file("gone.npy"), file("odd.csv"),
        save("words.npy", np.array([["a", "b"]])), save("deep.npy", np.ones((2, 2, 2, 2))),
    ]  # fmt: skip
    results, _, _ = run("series", cells, PLAIN, train=[good])
    expected = [
        "holds NaN", "holds infinite", "3 channels instead of", "cannot be read", "not there",
        "different numbers of values", "does not hold numbers", "has 4 axes",
    ]  # fmt: skip
    for result, text in zip(results, expected, strict=True):
        assert isinstance(result, str)
        assert text in result
    with pytest.raises(DataError, match="no training row has a series that can be read"):
        run("series", [file("gone.npy")], PLAIN)
