"""What several passes have in common is computed once, and each is what it is alone."""

from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from random_stores import cases, make_network, make_store

from gnnfusion.graphs.topology import TASK
from gnnfusion.nn.fusion.graph import relation_name
from gnnfusion.nn.network import RELATES
from gnnfusion.nn.reuse import reused, reusing
from gnnfusion.relatedness.controls import with_shuffled_labels
from gnnfusion.relatedness.estimators.ablation import cut
from gnnfusion.training.evaluate import Pass, outputs_of_passes
from gnnfusion.training.evidence import only_shown

ATTENTION = ("gat", "gatv2")
INFORMS = [{"informs": {"modality": f"m{i}"}} for i in range(3)]


@contextmanager
def deaf(network):
    """Within the block the first task hears of no modality."""

    def without(module, args):
        batch, *more = args
        edges = {
            kind: replace(these, index=these.index[:, these.index[1] % len(batch.tasks) != 0])
            if kind[0] != kind[2] == TASK else these
            for kind, these in batch.edges.items()
        }  # fmt: skip
        return (replace(batch, edges=edges), *more)

    handle = network.register_forward_pre_hook(without)
    try:
        yield
    finally:
        handle.remove()


def passes_of(network, store) -> list[Pass]:
    """Passes that differ in all that passes can differ in.

    Those in which no label is shown follow each other: they have most in common.
    """
    count, others = len(store.schema.tasks), with_shuffled_labels(store, store.rows(), seed=0)
    shown = [partial(only_shown, task=place) for place in range(count)]
    uniform = [
        Pass(within=partial(network.fusion.uniform_attention, RELATES)), Pass()
    ] if network.config.fusion in ATTENTION else []  # fmt: skip
    return [
        Pass(),
        *uniform,
        Pass(within=partial(cut, network, 0)),
        Pass(within=partial(cut, network, count - 1, 0)),
        Pass(within=partial(deaf, network)),
        Pass(),
        *(Pass(shown=each) for each in shown),
        Pass(shown=shown[-1], told=others),
        Pass(shown=shown[-1], within=partial(cut, network, count - 1, 0)),
        Pass(),
    ]


@pytest.mark.parametrize(
    "fusion", ["gcn", "gat", "gatv2", "sage", "rgcn", "hgt", "mtag", "learned_topology"]
)
@settings(max_examples=5)
@given(store=cases())
def test_passes_side_by_side_are_the_passes_one_by_one(fusion, store):
    network = make_network(store, fusion=fusion, layers=3)
    passes = passes_of(network, store)
    together = outputs_of_passes(network, store, store.rows(), passes)
    for found, each in zip(together, passes, strict=True):
        (alone,) = outputs_of_passes(network, store, store.rows(), [each])
        assert all(torch.equal(found[task], alone[task]) for task in alone)


@pytest.mark.parametrize("fusion", ["gatv2", "sage"])
@pytest.mark.parametrize("asks", [False, True])
def test_what_a_label_cannot_reach_is_computed_once(fusion, asks):
    """Where a modality asks a task, what it tells others in the next layer depends on labels."""
    between = [{"full": {"source": "m0", "target": "m1"}}, {"relates": {}}]
    asking = [{"asks": {"modality": "m0"}}] if asks else []
    store = make_store(topology=[*INFORMS, *between, *asking], missing=0.0, unlabelled=0.0)
    network = make_network(store, fusion=fusion, layers=3)
    (kind,) = [k for k in network.fusion.layers[0].relations if k[0] == "m0" and k[2] == "m1"]
    runs = [0, 0]  # of the first layer and the second; the third has no such messages
    for place in range(2):
        conv = network.fusion.layers[place].convs[relation_name(kind)]

        def count(*_, place=place):
            runs[place] += 1

        conv.register_forward_hook(count)
    shown = [Pass(shown=partial(only_shown, task=t)) for t in range(3)]
    outputs_of_passes(network, store, store.rows(), [Pass(), *shown])
    assert TASK not in kind
    assert runs == [1, 4 if asks else 1]


def test_a_step_is_made_anew_when_an_input_is_another():
    made = []

    def step(x, y):
        return reused("step", (x, y), lambda: made.append(1) or x + y)

    a, b = torch.ones(2), torch.ones(2)
    assert step(a, b) is not step(a, b)
    with reusing():
        assert step(a, b) is step(a, b)
        assert torch.equal(step(b, a), step(a, b))  # as large, and yet others
        with reusing():
            step(a, b)
        step(a, b)
    step(a, b)
    assert len(made) == 2 + 1 + 2 + 1 + 0 + 1
