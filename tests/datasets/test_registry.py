import json
import os
import shutil
import subprocess
import sys

import pytest

from gnnfusion import datasets
from gnnfusion.datasets import files, registry
from gnnfusion.datasets.planted_tables import write_arrays
from gnnfusion.errors import DataError, UsageError
from gnnfusion.schema import Schema


@pytest.mark.parametrize("name", datasets.names())
def test_every_data_set_has_its_files(name):
    folder = files.files_folder(name)
    assert datasets.summary(name).startswith(f"{name}: ")
    schema = Schema.from_yaml(folder / "schema.yaml")
    assert schema.tasks
    source = files.read_yaml(name, "source.yaml")
    assert {"homepage", "licence", "verified", "files"} <= set(source)
    assert registry.recipe(name).VERSION >= 1
    if registry.recipe(name).RAW:
        assert source["files"]
        assert set(json.loads((folder / "checksums.json").read_text())) == {
            "files", "arrays", "sets",
        }  # fmt: skip


@pytest.mark.parametrize("name", datasets.names())
def test_the_extractors_of_every_schema_take_their_settings(name):
    from gnnfusion.features import read_settings

    for modality in Schema.from_yaml(files.files_folder(name) / "schema.yaml").modalities:
        read_settings(modality.kind, modality.name, modality.extractor)


def test_unknown_name_lists_the_names():
    with pytest.raises(UsageError, match="there is no data set 'mosy'; use one of planted,"):
        datasets.load("mosy")


def test_unknown_option_lists_the_options():
    with pytest.raises(UsageError, match="no option 'row'; its options: rows, seed"):
        datasets.load("planted", row=3)


def test_absent_raw_data_name_the_command(monkeypatch):
    monkeypatch.delenv("GNNFUSION_DATA", raising=False)
    with pytest.raises(DataError, match="gnnfusion data get houses"):
        datasets.load("houses")
    assert not datasets.available("houses")
    assert datasets.available("planted")


def test_raw_data_are_looked_for_in_the_environment_then_in_the_cache(tmp_path, monkeypatch, cache):
    (cache / "data" / "fsdd").mkdir(parents=True)
    monkeypatch.setenv("GNNFUSION_DATA", str(tmp_path / "given"))
    assert datasets.raw_folder("fsdd_digits") == cache / "data" / "fsdd"
    (tmp_path / "given" / "fsdd").mkdir(parents=True)
    assert datasets.raw_folder("fsdd_digits") == tmp_path / "given" / "fsdd"


def test_prepared_once_and_used_again(cache):
    first = datasets.load("planted_v1", train=20, test=10)
    stamp = (first.base / "table.csv").stat().st_mtime_ns
    again = datasets.load("planted_v1", train=20, test=10)
    assert again == first
    assert (again.base / "table.csv").stat().st_mtime_ns == stamp
    assert datasets.load("planted_v1", train=21, test=10).base != first.base
    assert [p.name for p in (cache / "prepared").iterdir() if p.name.startswith(".")] == []


def test_out_folder_is_used_and_protected(tmp_path):
    schema = datasets.load("planted_v1", tmp_path / "here", train=20, test=10)
    assert schema.base == tmp_path / "here"
    datasets.load("planted_v1", tmp_path / "here", train=20, test=10)
    with pytest.raises(UsageError, match="already holds something else"):
        datasets.load("planted_v1", tmp_path / "here", train=30, test=10)


def test_a_failed_preparation_leaves_nothing(cache, monkeypatch):
    def fail(folder, raw):
        (folder / "half").write_text("x")
        raise DataError("broken off")

    monkeypatch.setattr(registry.recipe("planted_v1"), "prepare", fail)
    with pytest.raises(DataError, match="broken off"):
        datasets.load("planted_v1")
    assert list((cache / "prepared").iterdir()) == []


def test_the_shipped_schema_of_planted_v1_is_the_generated_one(tmp_path):
    schema = write_arrays(datasets.planted_arrays(train=5, test=5), tmp_path)
    assert schema == Schema.from_yaml(files.files_folder("planted_v1") / "schema.yaml")


def test_files_are_found_in_a_checkout_and_in_a_wheel(tmp_path, monkeypatch):
    source = files.files_folder()
    for package, data in (
        (tmp_path / "a" / "gnnfusion", tmp_path / "a" / "datasets"),
        (tmp_path / "b" / "gnnfusion", tmp_path / "b" / "gnnfusion" / "_data"),
    ):
        package.mkdir(parents=True)
        shutil.copytree(source, data)
        monkeypatch.setattr(files, "_PACKAGE", package)
        assert files.files_folder("mosi") == data / "mosi"
    monkeypatch.setattr(files, "_PACKAGE", tmp_path / "c")
    with pytest.raises(DataError, match="reinstall gnnfusion"):
        files.files_folder("mosi")


def run(code, folder):
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, env=env)


def test_importing_data_sets_is_light(tmp_path):
    code = (
        "import sys, gnnfusion.datasets as d; d.names(); d.summary('mosi');"
        "bad = {'torch', 'pandas', 'requests', 'av', 'numpy'} & set(sys.modules);"
        "assert not bad, bad"
    )
    run(code, tmp_path)


def test_our_data_sets_do_not_look_like_the_package_datasets(tmp_path):
    root = str(files.files_folder().parent)
    if root in sys.path:
        pytest.skip("an editable install puts the root on sys.path")
    code = (
        "import gnnfusion.datasets; import importlib.util as u; found = u.find_spec('datasets');"
        "assert found is None or found.origin, found"
    )
    run(code, tmp_path)
