"""The order in which a schema lists its tasks decides nothing."""

import numpy as np
import pytest
from outputs import with_tasks
from random_stores import make_network, make_store

from gnnfusion.nn.network import network_for
from gnnfusion.relatedness.combined import SINGLE_TRAINING, combine
from gnnfusion.relatedness.controls import probes_of_weights
from gnnfusion.relatedness.estimators import ESTIMATORS
from gnnfusion.relatedness.relate import estimate

TASKS = ("regression", "binary", "multiclass", "regression", "multilabel", "regression2")
ORDER = [3, 5, 0, 4, 2, 1]


@pytest.fixture(scope="module")
def both():
    """A store and a network of it, and the same with the tasks in another order."""
    store = make_store(("vector", "tokens"), TASKS, 90, derived={"t3": ("t1",)}, missing=0.1,
                       unlabelled=0.2)  # fmt: skip
    other = with_tasks(store, [store.schema.tasks[t] for t in ORDER])
    network = make_network(store)
    moved = network_for(other, network.config)
    moved.load_state_dict(network.state_dict())  # parameters are called by the names of tasks
    return (network, store), (moved.eval(), other)


def graph_of(method, network, store):
    rows = store.rows("valid", "test")
    probes = None
    if ESTIMATORS[method].needs == "training":
        probes = probes_of_weights(network, store, 16, 0)
    return estimate(method, network, store, rows, 0, probes)


@pytest.mark.parametrize("method", ESTIMATORS)
def test_values_move_with_their_tasks(both, method):
    plain, moved = (graph_of(method, *each) for each in both)
    assert moved.tasks == tuple(plain.tasks[t] for t in ORDER)
    expected = plain.value[np.ix_(ORDER, ORDER)]
    assert np.isfinite(expected).sum() >= 20
    scale = np.nanmax(np.abs(expected))
    assert np.nanstd(expected) > 1e-3 * scale
    np.testing.assert_allclose(moved.value, expected, rtol=1e-3, atol=1e-4 * scale)
    np.testing.assert_array_equal(moved.derived, plain.derived[np.ix_(ORDER, ORDER)])
    np.testing.assert_array_equal(moved.n, plain.n[np.ix_(ORDER, ORDER)])


def test_the_combination_moves_with_its_tasks(both):
    plain, moved = (
        combine({m: graph_of(m, *each) for m in SINGLE_TRAINING}).value for each in both
    )
    np.testing.assert_allclose(moved, plain[np.ix_(ORDER, ORDER)], rtol=1e-3, atol=1e-4)
