import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, so that no test meets what another has prepared."""
    monkeypatch.setenv("GNNFUSION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def real(request):
    """Skips, with the reason, where the real data of ``real("mosi")`` are absent."""

    def need(raw: str) -> Path:
        root = os.environ.get("GNNFUSION_DATA")
        if not root:
            pytest.skip("GNNFUSION_DATA is not set: the real data are not here")
        if not (Path(root) / raw).is_dir():
            pytest.skip(f"GNNFUSION_DATA has no {raw}/")
        return Path(root) / raw

    return need
