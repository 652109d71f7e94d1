"""What must stay unloaded: help is fast because it imports next to nothing.

That `predict` never imports Lightning is tested with the command itself, in test_cli.py.
"""

import json
import subprocess
import sys

import pytest
from small_runs import small_config, small_store

from gnnfusion.training.fit import train

HEAVY = {"torch", "pytorch_lightning", "torch_geometric", "pandas", "sklearn", "scipy", "librosa",
         "av", "matplotlib", "networkx", "sentence_transformers"}  # fmt: skip

RUN = """
import contextlib, io, json, sys
codes = []
from gnnfusion.cli import COMMANDS, main
for arguments in json.loads(sys.argv[1]) or [[c, "--help"] for c in COMMANDS]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            code = main(arguments)
        except SystemExit as done:
            code = done.code
    codes.append([arguments, code, len(out.getvalue())])
print(json.dumps([codes, sorted(m for m in sys.modules if "." not in m)]))
"""


def in_a_new_process(*commands):
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def loaded(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


def test_help_of_every_command_imports_nothing_heavy():
    codes, modules = in_a_new_process()
    assert len(codes) >= 9
    for arguments, code, length in codes:
        assert code == 0, arguments
        assert length > 100, arguments
    assert not HEAVY & set(modules)


def test_top_level_help_imports_nothing_heavy():
    codes, modules = in_a_new_process(["--help"], ["--version"], ["data", "get", "--help"])
    assert [code for _, code, _ in codes] == [0, 0, 0]
    assert not HEAVY & set(modules)


def test_the_package_and_its_schema_import_nothing_heavy():
    modules = loaded("import gnnfusion; gnnfusion.Schema; gnnfusion.TrainConfig")
    assert "gnnfusion.schema" in modules
    assert not HEAVY & modules


def test_samples_and_features_need_no_torch():
    assert "torch" not in loaded(
        "import gnnfusion.samples.table, gnnfusion.samples.infer, gnnfusion.features.audio,"
        "gnnfusion.features.video, gnnfusion.features.image, gnnfusion.features.text"
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("import")
    store = small_store(folder / "store")
    return train(store, folder / "run", small_config(epochs=1), logs=False)


def test_evaluate_and_info_never_import_lightning(run):
    codes, modules = in_a_new_process(["evaluate", str(run.path)], ["info"])
    assert [code for _, code, _ in codes] == [0, 0]
    assert "torch" in modules
    assert not {"pytorch_lightning", "lightning", "tensorboard"} & set(modules)
