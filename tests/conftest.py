"""What all tests share. ``tests/support`` is put on the path; the root of the project never is."""

import os
import sys
from pathlib import Path

# Before torch is imported anywhere: threads cost more than they give at these sizes, and the
# order of sums, so the last bit, depends on their number.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "support"))
torch.set_num_threads(1)
# The first example of a property imports and compiles; how long it takes says nothing.
settings.register_profile("gnnfusion", deadline=None)
settings.load_profile("gnnfusion")


LONG = (
    "test_scripts", "test_docs", "test_cli", "test_cli_relate", "test_cli_groups", "test_compare",
    "test_build", "test_fit", "test_measure_transfer",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Modules that take minutes come first, so that no worker is left with one of them at the end.

    It needs ``--no-loadscope-reorder``, for xdist would begin with those of the most tests.
    """
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, so that no test meets what another has prepared."""
    monkeypatch.setenv("GNNFUSION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
