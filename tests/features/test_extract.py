import os

import numpy as np
import pytest
from PIL import Image

from gnnfusion.errors import DataError
from gnnfusion.features import cache, image, read_settings, tabular
from gnnfusion.features.extract import _pack, extract_features, fit_state
from gnnfusion.features.files import digest
from gnnfusion.features.nodes import Nodes, NodeSpec
from gnnfusion.features.workers import run_jobs


@pytest.fixture
def pictures(tmp_path, file):
    rng = np.random.default_rng(0)
    for i in range(150):
        data = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(data).save(tmp_path / f"{i}.png")
    (tmp_path / "70.png").write_bytes(b"broken")
    return [(file(f"{i}.png"),) for i in range(150)]


def features(values, workers=1, **settings):
    chosen = read_settings("image", "m", {"size": 4, **settings})
    state = fit_state("image", chosen, ["c"], values)
    return extract_features("image", "m", chosen, state, ["c"], values, workers=workers, show=False)


def whole(found):
    return np.concatenate(list(found.x_blocks()))


def test_chunks_in_order_make_the_rows(pictures):
    found = features(pictures)
    assert found.counts.tolist() == [int(i != 70) for i in range(150)]
    assert [(p.row, p.column) for p in found.problems] == [(70, "c")]
    assert whole(found).shape == (149, 3, 4, 4)
    assert found.total == 149


def test_workers_do_not_change_a_byte(pictures, monkeypatch, tmp_path):
    one = features(pictures)
    first = whole(one)
    monkeypatch.setenv("GNNFUSION_CACHE", str(tmp_path / "other"))
    three = features(pictures, workers=3)
    assert (whole(three) == first).all()
    assert three.problems == one.problems
    assert three.digest == one.digest


def test_what_is_cached_is_not_made_again(pictures, monkeypatch):
    first = whole(features(pictures))

    def never(*_):
        raise AssertionError("extracted again")

    monkeypatch.setattr(image, "extract", never)
    assert (whole(features(pictures)) == first).all()
    with pytest.raises(AssertionError):
        features(pictures, resize="crop")


def test_changed_files_are_read_again(pictures, tmp_path):
    before = features(pictures)
    Image.new("RGB", (6, 6), "white").save(tmp_path / "3.png")
    after = features(pictures)
    assert [a == b for a, b in zip(before.keys, after.keys, strict=True)] == [False, True, True]
    assert whole(after)[3].min() == 255


@pytest.mark.parametrize("harm", ["truncate", "flip", "delete"])
def test_damaged_cache_entries_are_made_again(pictures, cache, harm):
    found = features(pictures)
    first = whole(found)
    for path in [p for p in cache.rglob("*") if p.is_file()]:
        data = path.read_bytes()
        if harm == "truncate":
            path.write_bytes(data[: len(data) // 2])
        elif harm == "flip":
            path.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
        else:
            path.unlink()
    assert (whole(found) == first).all()  # noticed while the store is written
    assert (whole(features(pictures)) == first).all()


def test_the_cache_may_lie_where_nothing_can_be_written(pictures, tmp_path, monkeypatch):
    (tmp_path / "full").write_text("a file, not a folder")
    monkeypatch.setenv("GNNFUSION_CACHE", str(tmp_path / "full"))
    with pytest.raises(DataError, match=r"cache .* cannot be written .*GNNFUSION_CACHE"):
        features(pictures)


def test_nan_and_infinite_features_are_problems():
    spec = NodeSpec((2,), "float32")
    rows = [np.array([[1, 2]]), np.array([[1, np.nan]]), np.array([[np.inf, 0], [0, 0]])]
    empty = np.zeros((2, 0), np.float32)
    chunk = _pack(spec, [Nodes(x.astype(np.float32), empty[: len(x)]) for x in rows])
    assert chunk.counts.tolist() == [1, 0, 0]
    assert [row for row, _, _ in chunk.problems] == [1, 2]
    assert "NaN or infinite" in chunk.problems[0][2]


def test_no_rows_at_all():
    settings = tabular.Settings()
    state = tabular.fit(settings, ["a"], [(1,)])
    found = extract_features("tabular", "m", settings, state, ["a"], [], show=False)
    assert found.total == 0


def test_a_worker_that_dies_is_explained():
    with pytest.raises(DataError, match=r"a worker process died.*fewer workers"):
        list(run_jobs(os._exit, [1, 2, 3], 2))


def test_digests_are_of_content(tmp_path, file):
    (tmp_path / "a").write_text("x")
    first = digest((file("a"), 1, "t", None))
    assert digest((file("a"), 1, "t", float("nan"))) == first
    assert digest((file("a"), 1, "u", None)) != first
    (tmp_path / "a").write_text("y")
    assert digest((file("a"), 1, "t", None)) != first


def test_progress_is_lines_when_piped(pictures, capsys):
    chosen = read_settings("image", "m", {"size": 4})
    extract_features("image", "faces", chosen, {"pictures": ["c"]}, ["c"], pictures, workers=1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "faces: 150/150 rows"
    assert all(line.startswith("faces: ") for line in lines)


def test_the_cache_folder_is_the_users(monkeypatch):
    monkeypatch.delenv("GNNFUSION_CACHE")
    assert cache.cache_folder().parts[-2:] == ("gnnfusion", "features")
