import numpy as np
import pytest
import torch
from random_stores import make_network, make_store

from gnnfusion.graphs.arrays import store_from_arrays
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.relatedness.estimators.evidence import draw_labels, estimate
from gnnfusion.schema import Modality, Schema, Task
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.evaluate import loss_table, outputs
from gnnfusion.training.fit import fit
from gnnfusion.training.objective import sample_losses


def test_losses_are_those_of_the_network_and_nan_where_unlabelled():
    store = make_store(("vector",), ("regression", "binary"), samples=12, unlabelled=0.4)
    network = make_network(store)
    rows = torch.arange(12).flip(0)
    plain, told = loss_table(network, store, rows), loss_table(network, store, rows, 0)
    np.testing.assert_array_equal(np.isnan(plain), ~store.masks[rows].numpy())
    np.testing.assert_array_equal(np.isnan(told), np.isnan(plain))
    out = outputs(network, store, rows)
    known = store.mask("t1")[rows]
    with torch.no_grad():
        expected = sample_losses(
            network.head("t1"), out["t1"][known], store.target("t1")[rows][known]
        )
    np.testing.assert_allclose(plain[known.numpy(), 1], expected.double(), rtol=1e-6)
    # A sample whose label t0 is not known loses what it lost.
    unknown = ~store.mask("t0")[rows] & known
    assert unknown.any()
    np.testing.assert_allclose(plain[unknown.numpy(), 1], told[unknown.numpy(), 1], rtol=1e-6)
    both = (store.mask("t0")[rows] & known).numpy()
    assert (plain[both, 1] != told[both, 1]).all()


@pytest.fixture(scope="module")
def planted():
    """Features that say little; t1 is t0 up to noise, t2 is noise, t3 is computed from t0."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=420)
    tasks = tuple(Task(name=f"t{i}", kind="regression") for i in range(3))
    schema = Schema(
        modalities=(Modality(name="m", kind="array", columns=("c",)),),
        tasks=(*tasks, Task(name="t3", kind="binary", derived_from="t0")),
    )
    x = z[:, None, None] + 3 * rng.normal(size=(420, 2, 4))
    targets = {"t0": z, "t1": z + 0.2 * rng.normal(size=420), "t2": rng.normal(size=420)}
    targets["t3"] = z > 0
    split = np.array([0] * 240 + [1] * 60 + [2] * 120)
    store = store_from_arrays(schema, {"m": x.astype(np.float32)}, targets, split=split)
    config = TrainConfig(
        network=NetworkConfig(width=16, heads=2, layers=2, dropout=0.0), epochs=40, batch_size=32,
        lr=5e-3, device="cpu", refit=True,
    )  # fmt: skip
    return store, fit(store, config, None)[0]


def test_a_planted_pair_is_found_and_noise_is_not(planted):
    store, network = planted
    graph = estimate(network, store, store.rows("test"), 0)
    assert graph.question == "label i informs j beyond the features"
    found = {(e.source, e.target) for e in graph.edges()}
    assert {("t0", "t1"), ("t1", "t0")} <= found
    assert {(a, b) for a, b in found if "t2" in (a, b)} == set()
    assert min(graph.value[0, 1], graph.value[1, 0]) > 0.2
    assert abs(graph.value[2, 0]) < 0.1
    assert (graph.n == 120).all()


def test_derived_pairs_have_no_value(planted):
    store, network = planted
    graph = estimate(network, store, store.rows("test"), 0)
    assert np.isnan(graph.value[0, 3])
    assert np.isnan(graph.value[3, 0])
    assert graph.derived[0, 3]
    assert np.isfinite(graph.value[1, 3])
    assert {("t0", "t3"), ("t3", "t0")}.isdisjoint((e.source, e.target) for e in graph.edges())


def test_a_seed_gives_the_same_graph_and_another_other_draws(planted):
    store, network = planted
    rows = store.rows("test")
    a, b, c = (estimate(network, store, rows, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a.low, b.low)
    np.testing.assert_array_equal(a.value, c.value)
    assert not np.array_equal(a.low, c.low)


def test_pairs_never_labelled_together_have_no_value(planted):
    store, network = planted
    tensors = dict(store.tensors)
    half = torch.arange(420) % 2
    tensors["mask/t0"], tensors["mask/t1"] = half.byte(), (1 - half).byte()
    graph = estimate(network, GraphStore(store.meta, tensors), store.rows("test"), 0)
    assert np.isnan(graph.value[0, 1])
    assert graph.n[0, 1] == 0
    assert graph.n[0, 2] == 60


def test_drawn_labels_go_with_the_outputs_as_the_true_ones_do():
    """And with nothing else: given the outputs, they tell nothing of the labels they stand for."""
    rng = np.random.default_rng(0)
    store = make_store(("vector",), ("regression", "multiclass"), 4000, unlabelled=0.1)
    rows, out = store.rows(), torch.from_numpy(rng.normal(size=(4000, 1)))
    classes = len(store.classes("t1"))
    y = 0.5 * out + torch.from_numpy(rng.exponential(size=(4000, 1)))  # skewed about the outputs
    store.tensors["y/t0"] = y.to(store.target("t0").dtype)
    logits = torch.from_numpy(3 * rng.normal(size=(4000, classes)))  # three times too sure
    drawn_class = torch.distributions.Categorical(logits=logits / 3).sample()
    store.tensors["y/t1"] = drawn_class.to(store.target("t1").dtype)
    drawn = draw_labels(store, rows, {"t0": out, "t1": logits}, rng)
    known = store.mask("t0")
    true, told = (s.target("t0")[known, 0].double().numpy() for s in (store, drawn))
    x = out[known, 0].numpy()
    assert told.std() == pytest.approx(true.std(), rel=0.05)
    assert np.corrcoef(told, x)[0, 1] == pytest.approx(np.corrcoef(true, x)[0, 1], abs=0.03)
    assert abs(np.corrcoef(true - 0.5 * x, told - 0.5 * x)[0, 1]) < 0.06
    assert torch.equal(store.target("t0")[~known], drawn.target("t0")[~known])
    known = store.mask("t1")
    likely = logits[known].argmax(1)
    agree = [float((s.target("t1")[known] == likely).double().mean()) for s in (store, drawn)]
    assert agree[0] == pytest.approx(agree[1], abs=0.04)  # and not as sure as the outputs are
    assert agree[0] < float(logits[known].softmax(1).amax(1).mean()) - 0.1


def sets_given_outputs(n=1500, seed=0):
    """Outputs of three labels of which the third is there exactly where the first is not."""
    rng = np.random.default_rng(seed)
    out = torch.from_numpy(rng.normal(size=(n, 3)))
    first, second = torch.from_numpy(rng.random((2, n)) < out[:, :2].mul(2).sigmoid().T.numpy())
    store = make_store(("vector",), ("multilabel", "regression"), n, unlabelled=0.0, missing=0.0)
    y = torch.stack([first, second, ~first], 1)
    tensors = {**store.tensors, "y/t0": y.to(store.target("t0").dtype)}
    out[:, 2] = -out[:, 0]
    return GraphStore(store.meta, tensors), out, rng


def test_drawn_sets_of_labels_are_sets_that_occur():
    store, out, rng = sets_given_outputs()
    known = store.mask("t0")
    found = {"t0": out, "t1": torch.zeros(len(store), 1)}
    drawn = draw_labels(store, store.rows(), found, rng).target("t0")[known]
    true = store.target("t0")[known]
    occurring = {tuple(s) for s in true.tolist()}
    assert len(occurring) == 4
    assert {tuple(s) for s in drawn.tolist()} == occurring
    assert (drawn != true).any(1).double().mean() > 0.2


def test_drawn_sets_go_with_the_outputs_as_the_true_ones_do():
    store, out, rng = sets_given_outputs()
    known, found = store.mask("t0"), {"t0": out, "t1": torch.zeros(len(store), 1)}
    drawn = draw_labels(store, store.rows(), found, rng).target("t0")[known].double().numpy()
    true, x = store.target("t0")[known].double().numpy(), out[known].numpy()
    for k in range(3):
        assert drawn[:, k].mean() == pytest.approx(true[:, k].mean(), abs=0.05)
        a, b = (np.corrcoef(y[:, k], x[:, k])[0, 1] for y in (drawn, true))
        assert a == pytest.approx(b, abs=0.06)
