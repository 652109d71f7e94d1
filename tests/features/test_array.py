import numpy as np
import pytest

from gnnfusion.errors import DataError
from gnnfusion.features.files import ArrayRow

RAW = {"standardize": False}


@pytest.fixture
def save(tmp_path, file):
    def make(name, data):
        np.save(tmp_path / name, data)
        return file(name)

    return make


def test_a_vector_is_one_node_and_a_sequence_many(run, save):
    results, spec, _ = run("array", [save("a.npy", np.arange(3.0)), None], RAW)
    assert (spec.shape, spec.position) == ((3,), ())
    assert results[0].x.tolist() == [[0, 1, 2]]
    assert len(results[1]) == 0
    data = np.arange(6.0).reshape(2, 3)
    results, spec, _ = run("array", [save("b.npy", data)], RAW)
    assert (spec.shape, spec.position) == ((3,), ("index",))
    assert results[0].pos.tolist() == [[0], [1]]
    results, spec, _ = run("array", [save("b.npy", data)], RAW | {"rate": 4})
    assert spec.position == ("time",)
    assert results[0].pos.tolist() == [[0], [0.25]]
    results, spec, _ = run("array", [save("b.npy", data)], RAW | {"nodes": False})
    assert spec.shape == (2, 3)
    results, spec, _ = run("array", [save("b.npy", data)], RAW | {"nodes": False, "flatten": True})
    assert spec.shape == (6,)


def test_pictures_stay_bytes(run, save):
    data = np.random.default_rng(0).integers(0, 255, (8, 6, 5), dtype=np.uint8)
    results, spec, _ = run("array", [save("a.npy", data)])
    assert (spec.shape, spec.dtype) == ((1, 6, 5), "uint8")
    assert (results[0].x[:, 0] == data).all()
    results, spec, _ = run("array", [save("a.npy", data)], {"nodes": False})
    assert (spec.shape, spec.position) == ((8, 6, 5), ())
    results, spec, _ = run("array", [save("b.npy", data / 2)], {"dtype": "uint8"}, train=[
        save("c.npy", data)])  # fmt: skip
    assert "not whole numbers from 0 to 255" in results[0]


def test_columns_of_numbers_are_a_vector(run):
    rows = [("1", "2.5"), (3, 4), (None, None), ("1", None), ("x", "1"), ("inf", "1")]
    results, spec, _ = run("array", rows, RAW, train=rows[:2])
    assert spec.shape == (2,)
    assert results[0].x.tolist() == [[1, 2.5]]
    assert len(results[2]) == 0
    assert "some of its columns are empty" in results[3]
    assert "'x' is not a number" in results[4]
    assert "infinite" in results[5]


def test_cells_may_hold_lists(run):
    results, spec, _ = run("array", [[1, 2], [3, 4]], RAW)
    assert spec.shape == (2,)
    assert results[1].x.tolist() == [[3, 4]]


def test_rows_of_an_aligned_file(run, save):
    data = np.array([[1, 2], [np.nan, np.nan], [np.nan, 1], [np.inf, 1], [5, 6]], np.float32)
    file = save("a.npy", data)
    rows = [ArrayRow(file, i) for i in range(5)]
    results, spec, _ = run("array", rows, {"file": "a.npy"}, train=[rows[0], rows[4]])
    assert spec.shape == (2,)
    np.testing.assert_allclose(results[0].x, [[-1, -1]])
    assert len(results[1]) == 0  # nothing but NaN: missing
    assert results[2] == "row 2 of 'a.npy' cannot be used: it holds NaN values"
    assert results[3] == "row 3 of 'a.npy' cannot be used: it holds infinite values"


def test_training_features_are_standardized(run, save):
    rng = np.random.default_rng(0)
    cells = [save(f"{k}.npy", rng.normal([5, 0], [3, 0], (20, 2))) for k in range(4)]
    results, _, _ = run("array", cells)
    x = np.concatenate([n.x for n in results])
    assert np.abs(x.mean(0)).max() < 1e-5
    np.testing.assert_allclose(x.std(0), [1, 0], atol=1e-5)  # a constant feature stays finite


def test_other_shapes_are_problems(run, save):
    results, _, _ = run(
        "array", [save("a.npy", np.ones(3))], RAW, train=[save("b.npy", np.ones(4))]
    )
    assert "has shape (3,), which gives nodes of (3,) instead of (4,)" in results[0]


def test_bad_files_are_explained(run, save, file, tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    cells = [file("bad.npy"), file("gone.npy"), file("object.npy"), file("a.xyz")]
    results, _, _ = run("array", cells, train=[save("a.npy", np.ones(2))])
    assert "the array 'bad.npy' cannot be read" in results[0]
    assert results[1] == "the array 'gone.npy' is not there"
    assert "cannot be read" in results[2]  # pickles are never loaded
    assert "is not .npy" in results[3]
    with pytest.raises(DataError, match="no training row has an array that can be read"):
        run("array", [file("gone.npy")])
