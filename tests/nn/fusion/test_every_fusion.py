"""What holds for every fusion, whatever the schema: a sample's output is its own."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from outputs import (
    assert_absent_is_untouched,
    assert_matters_where_it_is,
    fully_wired,
    labels_for,
    run,
    with_tasks,
)
from random_stores import cases, make_network, make_store

from gnnfusion.errors import UsageError
from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.methods import load_method
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion import FUSIONS, find_fusion
from gnnfusion.nn.fusion.trunk import Trunk
from gnnfusion.nn.network import network_for
from gnnfusion.nn.sharing import check_labels
from gnnfusion.schema import Context
from gnnfusion.training.objective import task_losses

NAMES = (
    "concat", "average", "weighted", "gated", "tensor", "low_rank", "bilinear", "late", "early",
    "transformer", "encoder_decoder", "mult", "bottleneck", "gcn", "gat", "gatv2", "sage", "rgcn",
    "hgt", "mtag", "learned_topology",
)  # fmt: skip
every = pytest.mark.parametrize("fusion", NAMES)
CONTEXT = Context(group="g", order="o", before=1, after=1)


def assert_close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_registry_names_them_all():
    assert tuple(FUSIONS) == NAMES
    for name, method in FUSIONS.items():
        assert method.reference.startswith("https://")
        assert method.summary == method.summary.strip().rstrip(".")
        assert callable(load_method(method).make)
        assert method.module.endswith(f".{name}")


@every
@given(store=cases(), training=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_a_batch_equals_its_samples_one_by_one(fusion, store, training, seed):
    """In any order, in evaluation and (dropout off) in training, labels shown or not."""
    network = make_network(store, fusion=fusion, seed=seed).train(training)
    rows = torch.randperm(len(store), generator=torch.Generator().manual_seed(seed))
    shown = labels_for(network, store, seed)
    together = run(network, store, rows, shown)
    in_order = run(network, store, range(len(store)), shown)
    for task, out in together.items():
        assert out.isfinite().all()
        assert_close(out, in_order[task][rows])
    for place, row in enumerate(rows.tolist()):
        alone = run(network, store, [row], shown)
        for task in store.schema.task_names:
            assert_close(alone[task][0], together[task][place])


@every
@given(store=cases(missing=0.6, context=CONTEXT), seed=st.integers(0, 99))
@settings(max_examples=6)
def test_an_absent_modality_touches_no_bit(fusion, store, seed):
    """Its encoder and all that is the modality's in the fusion may be anything."""
    network = make_network(store, fusion=fusion, seed=seed)
    assert_absent_is_untouched(network, store, most=3)


@every
def test_nor_does_it_in_a_batch_with_samples_that_have_it(fusion):
    store = make_store(samples=12, missing=0.5)
    assert_matters_where_it_is(make_network(store, fusion=fusion), store, "m1")


@every
def test_a_modality_that_no_sample_of_the_batch_has_changes_nothing(fusion):
    """Nor does it fail: a batch with zero nodes of a type, and samples with nothing at all."""
    store = make_store(samples=10, missing=0.5)
    network = make_network(store, fusion=fusion)
    rows = (store.nodes("m2").ptr.diff() == 0).nonzero().squeeze(1)
    assert len(rows) > 2
    for task, out in run(network, store, rows).items():
        assert_close(out, run(network, store, range(10))[task][rows])
    assert all(out.isfinite().all() for out in run(network, store, [0]).values())
    assert all(len(out) == 0 for out in run(network, store, []).values())


@every
def test_context_reaches_the_sample_and_its_place_matters(fusion):
    """The row before and the row after are told apart, from each other and from the sample."""
    store = make_store(
        ("vector",), ("regression",), samples=4, missing=0.0, axes=[()], most=1, split=[0] * 4,
        context=CONTEXT,
    )  # fmt: skip
    tensors = dict(store.tensors)
    tensors["context/group"] = torch.zeros(4, dtype=torch.int32)
    tensors["context/order"] = torch.arange(4, dtype=torch.float64)
    network = make_network(store, fusion=fusion)
    x = tensors["x/m0"]  # of rows 1, 2 and 3

    def out(order):
        return run(network, GraphStore(store.meta, {**tensors, "x/m0": x[order]}), [2])["t0"]

    found = [out([0, 1, 2]), out([2, 1, 0]), out([1, 0, 2]), out([0, 2, 1])]
    for i, a in enumerate(found):
        assert all(not torch.allclose(a, b, atol=1e-6) for b in found[:i])


@every
@given(store=cases())
@settings(max_examples=6)
def test_permuting_tasks_permutes_outputs(fusion, store):
    """Parameters are keyed by the task's name, so the order of the schema means nothing."""
    network = make_network(store, fusion=fusion)
    other = with_tasks(store, store.schema.tasks[::-1])
    turned = network_for(other, network.config)
    turned.load_state_dict(network.state_dict())
    rows = range(len(store))
    a, b = run(network, store, rows), run(turned.eval(), other, rows)
    assert tuple(b) == tuple(a)[::-1]
    for task in a:
        assert_close(a[task], b[task])


@every
def test_the_trunk_gives_a_vector_per_sample_and_task(fusion):
    store = make_store(samples=6)
    network = make_network(store, fusion=fusion)
    assert isinstance(network.fusion, Trunk)
    batch = make_batch(store, store.rows(), topology_of(store))
    with torch.no_grad():
        h = network.encode(batch)
        x = network.fusion(h, batch)
    assert ("task" in h) == FUSIONS[fusion].uses_task_nodes
    assert x.shape == (6, 3, 8)
    if not FUSIONS[fusion].uses_task_nodes and fusion != "late":
        assert torch.equal(x, x[:, :1].expand_as(x))


@every
def test_known_labels_reach_the_other_tasks_or_are_refused(fusion):
    store = make_store(samples=10, missing=0.2)
    network = make_network(store, fusion=fusion)
    shown = torch.zeros_like(store.masks)
    shown[:, 1] = store.masks[:, 1]
    assert network.reads_labels == find_fusion(fusion).uses_task_nodes
    if not network.reads_labels:
        with pytest.raises(UsageError, match=f"'{fusion}' has no task nodes, so it cannot read"):
            run(network, store, range(10), shown)
        with pytest.raises(UsageError, match="such as gatv2 or transformer"):
            check_labels(network.config)
        return
    plain, told = (run(network, store, range(10), s)["t0"] for s in (None, shown))
    assert ((plain != told).any(1) == shown[:, 1]).all()


@every
def test_every_parameter_gets_a_gradient(fusion):
    store = fully_wired()
    network = make_network(store, fusion=fusion).train()
    batch = make_batch(store, store.rows(), topology_of(store))
    shown = labels_for(network, store, 0)
    scored = store.masks if shown is None else store.masks & ~shown
    losses = task_losses(network, network(batch, shown), batch, scored)
    (losses.sum() + network.fusion.penalty()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any(), name


@every
def test_half_precision_gives_about_the_same(fusion):
    store = make_store(samples=6, context=CONTEXT)
    network = make_network(store, fusion=fusion)
    whole = run(network, store, range(6))
    with torch.autocast("cpu", torch.bfloat16):
        half = run(network, store, range(6))
    for task in whole:
        torch.testing.assert_close(half[task].float(), whole[task], rtol=0.1, atol=0.1)


def test_unfit_settings_are_said():
    store = make_store()
    config = NetworkConfig(width=6, heads=4)
    with pytest.raises(UsageError, match="unknown fusion 'glue'; use one of concat, average"):
        network_for(store, replace(config, fusion="glue"))
    for name in ("transformer", "encoder_decoder", "mult", "bottleneck", "hgt", "mtag", "gatv2"):
        with pytest.raises(UsageError, match="width 6 is not a multiple of the 4 heads"):
            network_for(store, replace(config, fusion=name))
    for name in ("concat", "average", "tensor", "late"):
        network_for(store, replace(config, fusion=name))
