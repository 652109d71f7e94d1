"""What several passes have in common is computed once, and each is what it is alone."""

from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from random_stores import cases, make_network, make_store

from gnnfusion.graphs.topology import TASK, Edges
from gnnfusion.nn.fusion.graph import GraphFusion, relation_name
from gnnfusion.nn.network import RELATES
from gnnfusion.nn.reuse import reused, reusing
from gnnfusion.relatedness.controls import with_shuffled_labels
from gnnfusion.relatedness.estimators.ablation import cut
from gnnfusion.training.evaluate import Pass, outputs_of_passes
from gnnfusion.training.evidence import only_shown

ATTENTION = ("gat", "gatv2")
GRAPHS = (*ATTENTION, "gcn", "sage", "rgcn", "hgt", "mtag", "learned_topology")
INFORMS = [{"informs": {"modality": f"m{i}"}} for i in range(3)]


@contextmanager
def edited(network, edit):
    """Within the block the network is given the edges that `edit` makes of a relation's."""

    def change(module, args):
        batch, *more = args
        edges = {kind: edit(kind, these, len(batch.tasks)) for kind, these in batch.edges.items()}
        return (replace(batch, edges=edges), *more)

    handle = network.register_forward_pre_hook(change)
    try:
        yield
    finally:
        handle.remove()


def deaf(kind, edges, tasks):
    """The first task hears of no modality."""
    if not kind[0] != kind[2] == TASK:
        return edges
    kept = edges.index[1] % tasks != 0
    return Edges(edges.index[:, kept], None if edges.attr is None else edges.attr[kept])


def passes_of(network, store) -> dict[str, Pass]:
    """Passes that differ in all that passes can differ in, by what is unlike in them.

    Those in which no label is shown follow each other: they have most in common.
    """
    count, others = len(store.schema.tasks), with_shuffled_labels(store, store.rows(), seed=0)
    shown = [partial(only_shown, task=place) for place in range(count)]
    cut_one = partial(cut, network, count - 1, 0)
    uniform, graph = {}, network.config.fusion in GRAPHS
    if network.config.fusion in ATTENTION:
        within = partial(network.fusion.uniform_attention, RELATES)
        uniform = {"uniform": Pass(within=within), "after uniform": Pass()}
    cuts = {
        "cut off": Pass(within=partial(cut, network, 0)),
        "cut": Pass(within=cut_one),
        "deaf": Pass(within=partial(edited, network, deaf)),
        "after cuts": Pass(),
    }
    told = {
        **{f"shown {t}": Pass(shown=each) for t, each in enumerate(shown)},
        "told": Pass(shown=shown[-1], told=others),
        "shown and cut": Pass(shown=shown[-1], within=cut_one),
        "after all": Pass(),
    }
    return {
        "plain": Pass(), **uniform, **(cuts if graph else {}),
        **(told if network.reads_labels else {}),
    }  # fmt: skip


def assert_alike(network, store) -> dict[str, dict[str, torch.Tensor]]:
    """All passes together give what each gives alone; their outputs."""
    passes = passes_of(network, store)
    together = outputs_of_passes(network, store, store.rows(), list(passes.values()))
    for found, each in zip(together, passes.values(), strict=True):
        (alone,) = outputs_of_passes(network, store, store.rows(), [each])
        assert all(torch.equal(found[task], alone[task]) for task in alone)
    return dict(zip(passes, together, strict=True))


@pytest.mark.parametrize("fusion", GRAPHS)
@settings(max_examples=5)
@given(store=cases())
def test_passes_side_by_side_are_the_passes_one_by_one(fusion, store):
    assert_alike(make_network(store, fusion=fusion, layers=3), store)


@pytest.fixture(scope="module")
def store():
    """Samples in which everything that passes change is there."""
    rules = [{"full": {"source": "m0", "target": "m1"}}, {"asks": {"modality": "m0"}}]
    return make_store(topology=[*INFORMS, *rules, {"relates": {}}], missing=0.0, unlabelled=0.0)


@pytest.mark.parametrize(
    "changes",
    [{"fusion": f} for f in (*GRAPHS, "transformer", "encoder_decoder")]
    + [{"fusion": "sage", "groups": (("t0", "t2"), ("t1",))}],
    ids=lambda changes: "-".join(map(str, changes.values())),
)  # fmt: skip
def test_what_a_pass_changes_shows(store, changes):
    network = make_network(store, layers=3, **changes)
    found = assert_alike(network, store)
    plain = found.pop("plain")
    for name, out in found.items():
        alike = all(torch.equal(out[task], plain[task]) for task in plain)
        assert alike == name.startswith("after"), name


def test_gates_of_edges_are_among_the_inputs(store):
    """They are the attributes of edges: another pass may have other ones on the same edges."""
    network = make_network(store, fusion="learned_topology")
    gated = network.fusion._gated

    def doubled(edges):
        return {kind: these if these.attr is None else replace(these, attr=2 * these.attr)
                for kind, these in gated(edges).items()}  # fmt: skip

    @contextmanager
    def louder():
        network.fusion._gated = doubled
        try:
            yield
        finally:
            del network.fusion._gated

    passes = [Pass(), Pass(within=louder), Pass()]
    before, between, after = outputs_of_passes(network, store, store.rows(), passes)
    (alone,) = outputs_of_passes(network, store, store.rows(), [Pass(within=louder)])
    for task, out in alone.items():
        assert torch.equal(between[task], out)
        assert torch.equal(before[task], after[task])
        assert not torch.equal(before[task], out)


@pytest.mark.parametrize("fusion", ["gatv2", "sage", "learned_topology"])
@pytest.mark.parametrize("asks", [False, True])
def test_what_a_label_cannot_reach_is_computed_once(fusion, asks):
    """Where a modality asks a task, what it tells others in the next layer depends on labels."""
    between = [{"full": {"source": "m0", "target": "m1"}}, {"relates": {}}]
    asking = [{"asks": {"modality": "m0"}}] if asks else []
    store = make_store(topology=[*INFORMS, *between, *asking], missing=0.0, unlabelled=0.0)
    network = make_network(store, fusion=fusion, layers=3)
    assert isinstance(network.fusion, GraphFusion)
    (kind,) = [k for k in network.fusion.layers[0].relations if k[0] == "m0" and k[2] == "m1"]
    runs = [0, 0]  # of the first layer and the second; the third has no such messages
    for place in range(2):
        conv = network.fusion.layers[place].convs[relation_name(kind)]

        def count(*_, place=place):
            runs[place] += 1

        conv.register_forward_hook(count)
    shown = [Pass(shown=partial(only_shown, task=t)) for t in range(3)]
    outputs_of_passes(network, store, store.rows(), [Pass(), *shown])
    assert runs == [1, 4 if asks else 1]


@torch.no_grad()
def test_a_step_is_made_anew_when_an_input_is_another():
    made = []

    def step(*inputs):
        return reused("step", inputs, lambda: made.append(1) or sum(inputs))

    a, b = torch.ones(2), torch.ones(2)
    assert step(a, b) is not step(a, b)
    with reusing():
        assert step(a, b) is step(a, b)
        assert torch.equal(step(b, a), step(a, b))  # as large, and yet others
        assert torch.equal(step(a), a)  # one fewer
        with reusing():
            step(a)
        step(a)
    with pytest.raises(ZeroDivisionError), reusing():
        raise ZeroDivisionError
    step(a)
    assert len(made) == 2 + 1 + 2 + 1 + 1 + 0 + 1


def test_nothing_is_reused_where_gradients_are_kept():
    with pytest.raises(AssertionError), reusing():
        pass
