"""What holds for every schema: a sample's output is its own, whatever it is batched with."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_stores import TASKS, cases, make_network, make_store

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.topology import TASK
from gnnfusion.nn.fusion import FUSIONS
from gnnfusion.nn.fusion.graph import relation_name
from gnnfusion.nn.network import network_for
from gnnfusion.schema import Context
from gnnfusion.training.evidence import draw_shown, kin_matrix

GRAPHS = st.sampled_from(["gcn", "gat", "gatv2"])


def run(network, store, rows, shown=None):
    rows = torch.as_tensor(rows)
    with torch.no_grad():
        visible = None if shown is None else shown[rows]
        return network(make_batch(store, rows, topology_of(store)), visible)


def some_shown(store, seed):
    draw = torch.Generator().manual_seed(seed)
    return draw_shown(store.masks, kin_matrix(store.schema), 0.7, draw)


def assert_close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@given(cases(), GRAPHS, st.booleans(), st.integers(0, 99))
@settings(max_examples=40)
def test_a_batch_equals_its_samples_one_by_one(store, fusion, training, seed):
    """In any order, in evaluation and (dropout off) in training, labels shown or not."""
    network = make_network(store, fusion=fusion, seed=seed).train(training)
    rows = torch.randperm(len(store), generator=torch.Generator().manual_seed(seed))
    shown = some_shown(store, seed)
    together = run(network, store, rows, shown)
    for place, row in enumerate(rows.tolist()):
        alone = run(network, store, [row], shown)
        for task in store.schema.task_names:
            assert_close(alone[task][0], together[task][place])
            assert together[task].isfinite().all()


@given(cases(missing=0.6), GRAPHS, st.integers(0, 99))
@settings(max_examples=30)
def test_an_absent_modality_touches_no_bit(store, fusion, seed):
    """Weights of its encoder, its norms and its relations may be anything."""
    network = make_network(store, fusion=fusion, seed=seed)
    topology = topology_of(store)
    for row in range(min(len(store), 4)):
        batch = make_batch(store, torch.tensor([row]), topology)
        absent = [m for m in store.schema.modality_names if len(batch.nodes[m].x) == 0]
        before = run(network, store, [row])
        changed = make_network(store, fusion=fusion, seed=seed)
        changed.load_state_dict(network.state_dict())
        mine = [
            p for name, p in changed.named_parameters()
            if any(belongs(name, m) for m in absent)
        ]  # fmt: skip
        assert bool(mine) == bool(absent)
        with torch.no_grad():
            for parameter in mine:
                parameter.add_(torch.randn_like(parameter) * 7)
        after = run(changed, store, [row])
        for task in store.schema.task_names:
            assert torch.equal(before[task], after[task])


def belongs(name, modality):
    parts = name.split(".")
    if parts[0] in ("encoders", "positions", "offsets", "enter"):
        return parts[1] == modality
    if parts[0] == "fusion":
        kind, owner = parts[3], parts[4]
        return modality in owner.split("__") if kind == "convs" else owner == modality
    return False


def test_a_present_modality_does_matter():
    """The counterpart: the perturbation above is one that would show."""
    store = make_store(missing=0.0)
    network = make_network(store)
    before = run(network, store, [3])
    for m in store.schema.modality_names:
        changed = make_network(store)
        with torch.no_grad():
            for name, parameter in changed.named_parameters():
                if belongs(name, m):
                    parameter.add_(torch.randn_like(parameter))
        after = run(changed, store, [3])
        assert not torch.allclose(before["t0"], after["t0"])


@given(cases(), GRAPHS)
@settings(max_examples=20)
def test_permuting_tasks_permutes_outputs(store, fusion):
    """Parameters are keyed by the task's name, so the order of the schema means nothing."""
    network = make_network(store, fusion=fusion)
    tasks = store.schema.tasks[::-1]
    meta = {**store.meta, "schema": store.schema.with_tasks(tasks).to_dict()}
    other = GraphStore(meta, store.tensors)
    turned = network_for(other, network.config)
    turned.load_state_dict(network.state_dict())
    turned.eval()
    a, b = run(network, store, store.rows()), run(turned, other, other.rows())
    assert tuple(b) == tuple(a)[::-1]
    for task in a:
        assert_close(a[task], b[task])


@given(
    st.lists(
        st.sampled_from(["vector", "bytes", "picture", "window", "columns", "sentence"]),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(list(FUSIONS)),
    st.integers(0, 99),
)
@settings(max_examples=40)
def test_permuting_nodes_without_order_changes_nothing(kinds, fusion, seed):
    """Fully wired nodes without positions are a set."""
    wiring = [{"full": {"source": f"m{i}"}} for i in range(len(kinds))]
    wiring += [{"informs": {"modality": f"m{i}"}} for i in range(len(kinds))]
    wiring += [{"asks": {"modality": f"m{i}"}} for i in range(len(kinds))] + [{"relates": {}}]
    store = make_store(
        kinds, axes=[()] * len(kinds), topology=wiring, seed=seed, samples=5, missing=0.2, most=4
    )
    network = make_network(store, fusion=fusion)
    tensors = dict(store.tensors)
    draw = torch.Generator().manual_seed(seed)
    for m in store.schema.modality_names:
        ptr = tensors[f"ptr/{m}"].tolist()
        order = [a + torch.randperm(b - a, generator=draw) for a, b in itertools.pairwise(ptr)]
        tensors[f"x/{m}"] = tensors[f"x/{m}"][torch.cat(order)]
    shuffled = GraphStore(store.meta, tensors)
    a, b = run(network, store, store.rows()), run(network, shuffled, store.rows())
    for task in a:
        assert_close(a[task], b[task])


@given(cases())
@settings(max_examples=30)
def test_every_node_and_edge_type_is_always_there(store):
    """In every batch, that of the sample with nothing and the empty one among them."""
    topology = topology_of(store)
    specs = {m: store.spec(m) for m in store.schema.modality_names}
    types = topology.types(
        specs, len(store.schema.tasks), store.schema.context is not None, store.given_types
    )
    for rows in ([], [0], list(range(len(store)))):
        batch = make_batch(store, torch.tensor(rows, dtype=torch.long), topology)
        assert tuple(batch.nodes) == store.schema.modality_names
        assert tuple(batch.edges) == types
        for kind, edges in batch.edges.items():
            sizes = [
                len(rows) * len(store.schema.tasks) if end == TASK else len(batch.nodes[end].x)
                for end in (kind[0], kind[2])
            ]
            assert edges.index.shape[0] == 2
            assert edges.index.dtype == torch.long
            for row, size in zip(edges.index, sizes, strict=True):
                assert ((row >= 0) & (row < size)).all()
        present = batch.present()
        for place, m in enumerate(store.schema.modality_names):
            ptr = store.nodes(m).ptr
            assert (present[:, place] == (ptr.diff()[batch.rows] > 0)).all()


@given(cases())
@settings(max_examples=30)
def test_no_edge_joins_two_samples(store):
    batch = make_batch(store, store.rows(), topology_of(store))
    owner = {m: batch.node_sample(m) for m in batch.nodes}
    owner[TASK] = torch.arange(len(store)).repeat_interleave(len(batch.tasks))
    for (source, _, target), edges in batch.edges.items():
        assert torch.equal(owner[source][edges.index[0]], owner[target][edges.index[1]])


@given(st.integers(0, 10**6), st.integers(0, 2), st.integers(0, 2))
@settings(max_examples=20)
def test_context_labels_are_never_read(seed, before, after):
    """Labels of the other rows may be anything, NaN among them; so may all that is hidden."""
    store = make_store(
        ("vector",), TASKS, samples=6, seed=seed, missing=0.2,
        context=Context(group="g", order="o", before=before, after=after),
    )  # fmt: skip
    network = make_network(store, layers=3)
    shown = some_shown(store, seed)
    row = int(seed % 6)
    tensors = dict(store.tensors)
    for place, task in enumerate(store.schema.task_names):
        y = tensors[f"y/{task}"].clone()
        wrong = torch.tensor(float("nan")) if y.is_floating_point() else torch.tensor(-99)
        hidden = ~shown[:, place] | (torch.arange(6) != row)
        y[hidden] = wrong.to(y.dtype)
        tensors[f"y/{task}"] = y
    a = run(network, store, [row], shown)
    b = run(network, GraphStore(store.meta, tensors), [row], shown)
    for task in a:
        assert torch.equal(a[task], b[task])


def test_context_nodes_do_reach_the_sample():
    context = Context(group="g", order="o", before=1, after=1)
    store = make_store(("vector",), context=context, missing=0.0, split=[0] * 8)
    network = make_network(store)
    order = store._context_lines[0].tolist()
    middle = next(
        i for i in range(1, 7)
        if len({int(store.tensors["context/group"][order[j]]) for j in (i - 1, i, i + 1)}) == 1
        and 0 not in order[i - 1 : i + 2]
    )  # fmt: skip
    row, neighbour, far = order[middle], order[middle + 1], order[(middle + 4) % 8]
    before = run(network, store, [row])
    for changed, reaches in ((neighbour, True), (far, False)):
        x, ptr = store.tensors["x/m0"].clone(), store.tensors["ptr/m0"]
        x[ptr[changed] : ptr[changed + 1]] += 1
        other = GraphStore(store.meta, {**store.tensors, "x/m0": x})
        assert torch.equal(before["t0"], run(network, other, [row])["t0"]) != reaches


def test_context_nodes_carry_their_place():
    """Node features: LN(encoding + position + embedding of the place relative to the sample)."""
    store = make_store(
        ("vector",), context=Context(group="g", order="o", before=2, after=1), missing=0.0
    )
    network = make_network(store)
    batch = make_batch(store, store.rows(), topology_of(store))
    nodes, offset = batch.nodes["m0"], batch.node_offset("m0")
    with torch.no_grad():
        raw = network.encoders["m0"](nodes) + network.positions["m0"](nodes.pos)
        for place in (-2, -1, 0, 1):
            chosen = offset == place
            assert chosen.any()
            code = network.offsets["m0"].weight[place + 2]
            expected = network.enter["m0"](raw[chosen] + code)
            assert_close(network.encode(batch)["m0"][chosen], expected)


def test_a_sample_twice_in_a_batch_gets_the_same_output_twice():
    store = make_store(missing=0.0)
    out = run(make_network(store), store, [2, 3, 2])
    for value in out.values():
        assert_close(value[0], value[2])


@pytest.mark.parametrize("kind", TASKS)
def test_an_empty_batch_has_empty_outputs(kind):
    store = make_store(tasks=(kind,))
    out = run(make_network(store), store, torch.zeros(0, dtype=torch.long))
    assert out["t0"].shape[0] == 0
    full = run(make_network(store), store, [0])
    assert out["t0"].shape[1:] == full["t0"].shape[1:]


def test_networks_are_a_function_of_the_seed():
    store = make_store()
    a, b, c = (make_network(store, seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


def test_relation_names_do_not_collide():
    store = make_store()
    batch = make_batch(store, store.rows(), topology_of(store))
    names = [relation_name(kind) for kind in batch.edges]
    assert len(set(names)) == len(names)
