import numpy as np
import pytest
import torch
from random_stores import make_network, make_store

from gnnfusion.graphs.arrays import store_from_arrays
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.relatedness.estimators import evidence
from gnnfusion.relatedness.estimators.evidence_given_others import estimate
from gnnfusion.schema import Modality, Schema, Task
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.evaluate import losses_of, outputs
from gnnfusion.training.fit import fit


@pytest.fixture(scope="module")
def chain():
    """Labels a -> b -> c, each the one before and something of its own; features tell little."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=900)
    b = a + 0.5 * rng.normal(size=900)
    c = b + 0.5 * rng.normal(size=900)
    schema = Schema(
        modalities=(Modality(name="m", kind="array", columns=("c",)),),
        tasks=tuple(Task(name=n, kind="regression") for n in "abc"),
    )
    x = b[:, None, None] + 4 * rng.normal(size=(900, 2, 4))
    split = np.array([0] * 500 + [1] * 100 + [2] * 300)
    targets = {"a": a, "b": b, "c": c}
    store = store_from_arrays(schema, {"m": x.astype(np.float32)}, targets, split=split)
    config = TrainConfig(
        network=NetworkConfig(width=16, heads=2, layers=2, dropout=0.0), epochs=25, batch_size=32,
        lr=5e-3, device="cpu", refit=True, evidence=0.8,
    )  # fmt: skip
    return store, fit(store, config, None)[0]


def test_in_a_chain_a_informs_c_alone_but_not_given_b(chain):
    store, network = chain
    alone = evidence.estimate(network, store, store.rows("test"), 0)
    given = estimate(network, store, store.rows("test"), 0)
    assert given.question == "label i informs j beyond the features"
    assert alone.significant[0, 2]
    assert alone.value[0, 2] > 0.3
    assert not given.significant[0, 2]
    assert abs(given.value[0, 2]) < 0.1
    for i, j in ((0, 1), (2, 1), (1, 0), (1, 2)):
        assert given.significant[i, j]
        assert given.low[i, j] > 0.05


def test_it_is_what_the_label_adds_to_those_of_no_kin():
    store = make_store(
        ("vector",), ("regression", "binary", "multiclass", "binary", "ordinal"), 40,
        derived={"t3": ("t0",), "t4": ("t2",)}, unlabelled=0.2,
    )  # fmt: skip
    network, rows = make_network(store), store.rows()
    graph = estimate(network, store, rows, 0)
    both = (store.mask("t0") & store.mask("t2")).numpy()

    def losses(shown):
        def only(masks):
            some = torch.zeros_like(masks)
            some[:, shown] = masks[:, shown]
            return some

        return losses_of(network, store, rows, outputs(network, store, rows, only))[both, 2].mean()

    # t3 derives from t0 and would tell of it, t4 from t2 which is scored.
    expected = (losses([1]) - losses([0, 1])) / losses([])
    assert graph.value[0, 2] == pytest.approx(expected, rel=1e-5)
    assert graph.low[0, 2] <= graph.value[0, 2] <= graph.high[0, 2]
    assert graph.n[0, 2] == both.sum()
    assert np.isnan(graph.value[0, 3])
    assert graph.derived[0, 3]


def test_two_tasks_have_no_others_and_pairs_that_never_meet_no_value():
    store = make_store(("vector",), ("regression", "binary"), 40, unlabelled=0.2)
    network, rows = make_network(store), store.rows()
    given, alone = (m(network, store, rows, 0) for m in (estimate, evidence.estimate))
    np.testing.assert_allclose(given.value, alone.value, rtol=1e-6)
    half = torch.arange(40) % 2
    masks = {"mask/t0": half.byte(), "mask/t1": (1 - half).byte()}
    apart = type(store)(store.meta, {**store.tensors, **masks})
    graph = estimate(network, apart, rows, 0)
    assert np.isnan(graph.value).all()
    assert graph.n[0, 1] == 0


def test_a_seed_gives_the_same_graph():
    store = make_store(("vector",), ("regression", "binary", "multilabel"), 30)
    found = [estimate(make_network(store), store, store.rows(), seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(found[0].p_value, found[1].p_value)
    np.testing.assert_array_equal(found[0].value, found[2].value)
    assert not np.array_equal(found[0].p_value, found[2].p_value)
