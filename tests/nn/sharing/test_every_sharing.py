"""What holds for every architecture over every kind of fusion: a sample's output is its own."""

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
from gnnfusion.methods import load_method
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion import FUSIONS
from gnnfusion.nn.fusion.trunk import Trunk
from gnnfusion.nn.network import network_for
from gnnfusion.nn.sharing import SHARINGS, check_labels, refusal, sharing_name
from gnnfusion.schema import Context
from gnnfusion.training.objective import task_losses

NAMES = ("hard", "single", "cross_stitch", "mmoe", "ple", "mtan", "private", "task_nodes")
every = pytest.mark.parametrize("sharing", NAMES)
CONTEXT = Context(group="g", order="o", before=1, after=1)
# Pooled, of predictions, with a query per task, with task nodes and gates for each.
KINDS = ("concat", "late", "encoder_decoder", "learned_topology")
fitting = pytest.mark.parametrize(
    ("sharing", "fusion"), [(s, f) for s in NAMES for f in KINDS if refusal(s, f) is None]
)


def assert_close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def small(store, fusion, sharing, **settings):
    return make_network(store, fusion=fusion, sharing=sharing, experts=2, **settings)


def test_the_registry_names_them_all():
    assert tuple(SHARINGS) == NAMES
    for name, method in SHARINGS.items():
        assert method.reference.startswith("https://")
        assert method.summary == method.summary.strip().rstrip(".")
        assert method.module.endswith(f".{name}")
        assert callable(load_method(method).make)


@fitting
@given(store=cases(context=CONTEXT), training=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=2)
def test_a_batch_equals_its_samples_one_by_one(sharing, fusion, store, training, seed):
    """In any order, in evaluation and (dropout off) in training, labels shown or not."""
    network = small(store, fusion, sharing, seed=seed).train(training)
    rows = torch.randperm(len(store), generator=torch.Generator().manual_seed(seed))
    shown = labels_for(network, store, seed)
    together = run(network, store, rows, shown)
    for place, row in enumerate(rows.tolist()):
        alone = run(network, store, [row], shown)
        for task in store.schema.task_names:
            assert together[task].isfinite().all()
            assert_close(alone[task][0], together[task][place])


@fitting
@given(store=cases(missing=0.6), seed=st.integers(0, 99))
@settings(max_examples=3)
def test_an_absent_modality_touches_no_bit(sharing, fusion, store, seed):
    """Its encoders and all that is the modality's in trunks and gates may be anything."""
    network = small(store, fusion, sharing, seed=seed)
    assert_absent_is_untouched(network, store, most=2)


@fitting
def test_a_modality_that_is_there_matters_and_an_empty_batch_is_none(sharing, fusion):
    store = make_store(samples=12, missing=0.5)
    network = small(store, fusion, sharing)
    assert_matters_where_it_is(network, store, "m1")
    assert all(len(out) == 0 for out in run(network, store, []).values())


@fitting
@given(store=cases())
@settings(max_examples=3)
def test_permuting_tasks_permutes_outputs(sharing, fusion, store):
    """Parameters are keyed by the task's name, so the order of the schema means nothing."""
    network = small(store, fusion, sharing)
    other = with_tasks(store, store.schema.tasks[::-1])
    turned = network_for(other, network.config)
    turned.load_state_dict(network.state_dict())
    rows = range(len(store))
    a, b = run(network, store, rows), run(turned.eval(), other, rows)
    assert set(a) == set(b)
    for task in a:
        assert_close(a[task], b[task])


@fitting
def test_every_parameter_gets_a_gradient(sharing, fusion):
    """All but scores of attention from one node or query alone, which is 1 whatever they are."""
    store = fully_wired(("informs", "asks") if sharing == "task_nodes" else ("informs",))
    network = small(store, fusion, sharing).train()
    batch = make_batch(store, store.rows(), topology_of(store))
    shown = labels_for(network, store, 0)
    scored = store.masks if shown is None else store.masks & ~shown
    losses = task_losses(network, network(batch, shown), batch, scored)
    (losses.sum() + network.penalty()).backward()
    for name, parameter in network.named_parameters():
        if (
            sharing != "task_nodes"
            and ".among." in name
            and name.split(".")[-2] in ("query", "key")
        ):
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any(), name


@every
def test_half_precision_gives_about_the_same(sharing):
    store = make_store(samples=6, context=CONTEXT)
    network = small(store, "gatv2", sharing)
    whole = run(network, store, range(6))
    with torch.autocast("cpu", torch.bfloat16):
        half = run(network, store, range(6))
    for task in whole:
        torch.testing.assert_close(half[task].float(), whole[task], rtol=0.1, atol=0.1)


@fitting
def test_an_architecture_gives_a_vector_per_sample_and_task(sharing, fusion):
    """Only in hard sharing, and where the fusion has but one, is it the same for all tasks."""
    store = make_store(samples=6)
    network = small(store, fusion, sharing)
    if sharing == "single":
        assert set(network.networks) == set(store.schema.task_names)
        return
    assert isinstance(network.fusion, Trunk)
    batch = make_batch(store, store.rows(), topology_of(store))
    with torch.no_grad():
        h = network.encode(batch)
        x = network.fusion(h, batch)
    assert x.shape == (6, 3, 8)
    assert ("task" in h) == (sharing == "task_nodes")
    if fusion != "late":
        assert torch.equal(x, x[:, :1].expand_as(x)) == (sharing == "hard")


# -- what goes together -----------------------------------------------------------------------


def test_auto_is_task_nodes_where_there_are_some():
    for name, fusion in FUSIONS.items():
        expected = "task_nodes" if fusion.uses_task_nodes else "hard"
        assert sharing_name(NetworkConfig(fusion=name)) == expected
        assert sharing_name(NetworkConfig(fusion=name, sharing="mmoe")) == "mmoe"


@pytest.mark.parametrize("fusion", ["gatv2", "concat", "late"])
def test_auto_is_the_same_network_as_the_one_it_means(fusion):
    """Name by name, so that runs written before there was a choice load."""
    store = make_store()
    auto = make_network(store, fusion=fusion)
    named = make_network(store, fusion=fusion, sharing=sharing_name(auto.config))
    assert list(auto.state_dict()) == list(named.state_dict())
    for task, out in run(auto, store, range(8)).items():
        assert torch.equal(out, run(named, store, range(8))[task])


def test_what_does_not_go_together_is_refused_with_the_reason():
    store = make_store()
    for sharing in NAMES:
        for fusion, method in FUSIONS.items():
            config = NetworkConfig(width=8, heads=2, fusion=fusion, sharing=sharing, experts=1)
            if sharing == "task_nodes" and not method.uses_task_nodes:
                words = f"the fusion '{fusion}' has no task nodes; share by another, such as hard"
            elif fusion == "late" and sharing not in ("hard", "single", "task_nodes"):
                words = f"the sharing '{sharing}' mixes vectors, and the fusion 'late' averages"
            else:
                network_for(store, config)
                continue
            with pytest.raises(UsageError, match=words):
                network_for(store, config)
    for fusion in ("gatv2", "concat"):
        with pytest.raises(UsageError, match="unknown sharing 'glue'; use one of hard, single,"):
            network_for(store, NetworkConfig(fusion=fusion, sharing="glue"))
    with pytest.raises(UsageError, match="unknown fusion 'glue'"):
        network_for(store, NetworkConfig(fusion="glue", sharing="single"))
    for setting in ("experts", "levels"):
        with pytest.raises(UsageError, match=f"network.{setting} must be at least 1, not 0"):
            NetworkConfig(**{setting: 0})


@every
def test_only_task_nodes_read_known_labels(sharing):
    store = make_store(samples=10, missing=0.2)
    network = small(store, "gatv2", sharing)
    assert network.reads_labels == (sharing == "task_nodes")
    if network.reads_labels:
        check_labels(network.config)
        assert any(name.startswith("labels") for name in network.state_dict())
        return
    assert not any("labels" in n or "task_embedding" in n for n in network.state_dict())
    words = f"the sharing '{sharing}' has no task nodes, so it cannot read known labels"
    with pytest.raises(UsageError, match=words):
        run(network, store, range(10), store.masks)
    with pytest.raises(UsageError, match="'concat' has no task nodes, so it cannot read"):
        check_labels(NetworkConfig(fusion="concat", sharing=sharing))
