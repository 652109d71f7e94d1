import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from random_stores import TASKS, cases, make_store

from gnnfusion.errors import StoreError
from gnnfusion.graphs.arrays import store_from_arrays
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.store_file import Stream, write_store
from gnnfusion.schema import Context, Modality, Schema, Task

FILES = ("graphs.safetensors", "store.json")


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@given(cases())
@settings(max_examples=20)
def test_what_is_written_is_read(tmp_path_factory, store):
    folder = tmp_path_factory.mktemp("s")
    store.save(folder / "store")
    again = GraphStore.open(folder / "store")
    assert again.schema == store.schema
    assert sorted(again.tensors) == sorted(store.tensors)
    for name in store.tensors:
        assert again.tensors[name].dtype == store.tensors[name].dtype
        assert torch.equal(again.tensors[name], store.tensors[name])
    assert again.ids() == store.ids() == [str(i) for i in range(len(store))]
    # Written again from the file, the bytes are the same.
    again.save(folder / "copy")
    assert contents(folder / "copy") == contents(folder / "store")
    assert sorted(p.name for p in (folder / "store").iterdir()) == sorted(FILES)


def test_bytes_depend_on_the_content_alone(tmp_path):
    """Whatever the order of names and the size of blocks."""
    store = make_store(context=Context(group="g", order="o"), bonds=True)
    store.save(tmp_path / "a")
    streams = {}
    for name in sorted(store.tensors, reverse=True):
        array = store.tensors[name].numpy()
        streams[name] = Stream(
            array.shape, str(array.dtype), lambda a=array: (a[i : i + 1] for i in range(len(a)))
        )
    write_store(tmp_path / "b", dict(store.meta), streams)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    header = (tmp_path / "a" / FILES[0]).read_bytes()
    head = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
    assert len(head.get("__metadata__", {})) <= 1  # their order would be random


def test_ids_may_be_any_text(tmp_path):
    ids = ["", "a/b", "ä€😀", "x" * 300]
    schema = Schema(modalities=(Modality(name="m", kind="array", columns=("c",)),))
    store = store_from_arrays(schema, {"m": np.ones((4, 1, 2), "f4")}, {}, split=[0] * 4, ids=ids)
    store.save(tmp_path / "store")
    again = GraphStore.open(tmp_path / "store")
    assert again.ids() == ids
    assert again.ids(torch.tensor([2, 0])) == [ids[2], ids[0]]


def arrays_store(samples, nodes, features):
    rng = np.random.default_rng(0)
    schema = Schema(
        modalities=(Modality(name="m", kind="array", columns=("c",)),),
        tasks=(Task(name="a", kind="regression"), Task(name="b", kind="binary")),
    )
    targets = {"a": rng.normal(size=samples), "b": rng.integers(0, 2, samples)}
    x = rng.normal(size=(samples, nodes, features)).astype(np.float32)
    return store_from_arrays(schema, {"m": x}, targets, split=np.zeros(samples))


@pytest.mark.parametrize(
    ("samples", "nodes", "features"), [(200, 1, 512), (200, 8, 64), (50, 4, 2048)]
)
def test_large_features_cost_at_most_15_percent_more(tmp_path, samples, nodes, features):
    """From 2 kB of features a sample on."""
    store = arrays_store(samples, nodes, features)
    store.save(tmp_path / "store")
    size = sum((tmp_path / "store" / f).stat().st_size for f in FILES)
    raw = samples * nodes * features * 4
    assert raw / samples >= 2048
    assert size <= 1.15 * raw


@pytest.mark.parametrize(("samples", "nodes", "features"), [(200, 1, 1), (200, 30, 2), (50, 3, 40)])
def test_small_features_cost_at_most_64_bytes_a_node_and_256_a_sample(
    tmp_path, samples, nodes, features
):
    store = arrays_store(samples, nodes, features)
    store.save(tmp_path / "store")
    size = sum((tmp_path / "store" / f).stat().st_size for f in FILES)
    assert size <= samples * nodes * (features * 4 + 64) + samples * 256


# -- what cannot be read ----------------------------------------------------------------------


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 5])


def cut_header(path):
    path.write_bytes(path.read_bytes()[:20])


def empty(path):
    path.write_bytes(b"")


def garbage(path):
    path.write_bytes(b"\xff" * 100)


@pytest.mark.parametrize("damage", [cut, cut_header, empty, garbage])
def test_damaged_tensors_are_said(tmp_path, damage):
    make_store().save(tmp_path / "store")
    damage(tmp_path / "store" / FILES[0])
    with pytest.raises(StoreError, match="is corrupt or truncated; build the store again"):
        GraphStore.open(tmp_path / "store")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: "{", "store.json is corrupt; build the store again"),
        (lambda m: "", "store.json is corrupt; build the store again"),
        (lambda m: [], "has format None, this version reads 1; build the store again"),
        (lambda m: {**m, "format": 99}, "has format 99, this version reads 1; build the store"),
        (lambda m: {"format": 1}, "store.json lacks 'schema'; build the store again"),
        (
            lambda m: {**m, "schema": {**m["schema"], "tasks": {"new": {"kind": "binary"}}}},
            "lacks the tensor 'y/new'; build the store again",
        ),
    ],
)
def test_damaged_or_foreign_descriptions_are_said(tmp_path, change, words):
    make_store().save(tmp_path / "store")
    path = tmp_path / "store" / FILES[1]
    new = change(json.loads(path.read_text()))
    path.write_text(new if isinstance(new, str) else json.dumps(new))
    with pytest.raises(StoreError, match=words) as caught:
        GraphStore.open(tmp_path / "store")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ptr/m0", "y/t0", "mask/t1", "x/m0", "id/ptr"])
def test_tensors_that_do_not_fit_each_other_are_said(tmp_path, name):
    store = make_store()
    tensors = {**store.tensors, name: store.tensors[name][:-1]}
    GraphStore(store.meta, tensors).save(tmp_path / "store")
    with pytest.raises(StoreError, match=r"the tensor '.*' has \d+ rows, not \d+; build"):
        GraphStore.open(tmp_path / "store")


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_text("")])
def test_what_is_no_store_is_said(tmp_path, make):
    make(tmp_path / "store")
    with pytest.raises(StoreError, match="is not a graph store; make one with `gnnfusion build`"):
        GraphStore.open(tmp_path / "store")


# -- writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 3])
def test_a_stream_of_the_wrong_size_leaves_the_old_store(tmp_path, rows):
    make_store().save(tmp_path / "store")
    before = contents(tmp_path / "store")
    wrong = Stream((2, 4), "float32", lambda: iter([np.zeros((rows, 4), "f4")]))
    with pytest.raises(StoreError, match=rf"tensor 'x': {rows * 16} bytes came, 32 expected"):
        write_store(tmp_path / "store", {}, {"x": wrong})
    assert contents(tmp_path / "store") == before
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_a_folder_of_something_else_is_kept(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="exists and is no graph store; name another folder"):
        make_store().save(tmp_path / "store")
    assert contents(tmp_path / "store") == {"thesis.txt": b"mine"}
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_a_store_is_replaced_whole(tmp_path):
    make_store(seed=1).save(tmp_path / "store")
    make_store(seed=2).save(tmp_path / "store")
    make_store(seed=2).save(tmp_path / "other")
    assert contents(tmp_path / "store") == contents(tmp_path / "other")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "store"]


KILLED = """
import os, signal, sys
import numpy as np
from pathlib import Path
from gnnfusion.graphs.store_file import Stream, write_store

def blocks():
    yield np.zeros((1000, 8), "f4")
    os.kill(os.getpid(), signal.SIGKILL)

write_store(Path(sys.argv[1]), {}, {"x": Stream((2000, 8), "float32", blocks)})
"""


def test_a_killed_write_leaves_the_old_store(tmp_path):
    make_store().save(tmp_path / "store")
    before = contents(tmp_path / "store")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "store")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert contents(tmp_path / "store") == before
    assert len(GraphStore.open(tmp_path / "store")) == 8
    make_store(seed=1).save(tmp_path / "store")  # what was left lying is in nobody's way
    assert contents(tmp_path / "store") != before


def test_files_can_be_read_by_others(tmp_path):
    """The temporary folder is private; the store is not."""
    make_store().save(tmp_path / "store")
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o755
    assert os.access(tmp_path / "store" / FILES[0], os.R_OK)


# -- from memory ------------------------------------------------------------------------------


def test_arrays_become_nodes_targets_and_masks():
    schema = Schema(
        modalities=(Modality(name="m", kind="array", columns=("c",)),),
        tasks=tuple(Task(name=f"t{i}", kind=k, columns=("a", "b") if k == "multilabel" else "a")
                    for i, k in enumerate(["regression", "binary", "multilabel"])),
    )  # fmt: skip
    x = [np.ones((2, 3), "f4"), np.zeros((0, 3), "f4"), 5 * np.ones((1, 3), "f4")]
    nan = float("nan")
    targets = {
        "t0": np.array([1.5, nan, 3.0]),
        "t1": np.array([nan, 1, 0]),
        "t2": np.array([[0, 1], [nan, 1], [1, 1]]),
    }
    store = store_from_arrays(schema, {"m": x}, targets, split=[0, 1, 2])
    assert store.nodes("m").ptr.tolist() == [0, 2, 2, 3]
    assert store.nodes("m").x[:, 0].tolist() == [1, 1, 5]
    assert store.nodes("m").pos[:, 0].tolist() == [0, 1, 0]
    assert store.masks.tolist() == [[True, False, True], [False, True, False], [True, True, True]]
    assert store.target("t0").tolist() == [[1.5], [0.0], [3.0]]
    assert store.target("t1").tolist() == [0, 1, 0]
    assert store.target("t2").tolist() == [[0, 1], [0, 0], [1, 1]]
    assert store.classes("t1") == ("0", "1")
    assert store.rows("train", "test").tolist() == [0, 2]
    assert store.rows().tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", TASKS)
def test_labels_of_every_kind_have_their_type(kind):
    store = make_store(tasks=(kind,), unlabelled=0.0)
    y = store.target("t0")
    expected = {"multilabel": (torch.uint8, 3), "regression": (torch.float32, 1)}
    expected["regression2"] = (torch.float32, 2)
    dtype, columns = expected.get(kind, (torch.int32, None))
    assert y.dtype == dtype
    assert tuple(y.shape) == ((8,) if columns is None else (8, columns))
