import numpy as np
import pytest

from gnnfusion.features import load_kind, read_settings
from gnnfusion.features.files import File, Partial
from gnnfusion.features.nodes import Nodes


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("GNNFUSION_CACHE", str(folder))
    return folder / "features"


@pytest.fixture
def file(tmp_path):
    """A cell that names a file in the test's folder."""
    return lambda name: File(str(tmp_path), name)


@pytest.fixture
def run():
    """Fit and extract; rows whose cells are not tuples have one column."""

    def extract(kind, values, settings=None, *, train=None, columns=None, state=None):
        def rows(cells):
            return [v if isinstance(v, tuple) else (v,) for v in cells]

        module = load_kind(kind)
        values = rows(values)
        chosen = read_settings(kind, "m", settings or {})
        names = columns or [f"c{i}" for i in range(len(values[0]))]
        if state is None:
            state = module.fit(chosen, names, values if train is None else rows(train))
        spec = module.spec(chosen, state)
        results = module.extract(chosen, state, values)
        assert len(results) == len(values)
        for result in results:
            nodes = result.nodes if isinstance(result, Partial) else result
            if isinstance(nodes, Nodes):
                assert nodes.x.shape[1:] == spec.shape
                assert nodes.x.dtype == np.dtype(spec.dtype)
                assert nodes.pos.shape == (len(nodes), len(spec.position))
                assert nodes.pos.dtype == np.float32
        return results, spec, state

    return extract
