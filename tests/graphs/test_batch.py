import dataclasses

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from outputs import with_tasks
from random_stores import cases, make_store

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.views import with_split
from gnnfusion.schema import Context


@given(cases(), st.integers(0, 99))
@settings(max_examples=30)
def test_a_batch_holds_the_rows_asked_for_in_that_order(store, seed):
    rows = torch.randint(0, len(store), (5,), generator=torch.Generator().manual_seed(seed))
    batch = make_batch(store, rows, topology_of(store))
    for name, nodes in batch.nodes.items():
        packed = store.nodes(name)
        owner, offset = batch.node_sample(name), batch.node_offset(name)
        for place, row in enumerate(rows.tolist()):
            own = (owner == place) & (offset == 0)
            part = slice(int(packed.ptr[row]), int(packed.ptr[row + 1]))
            assert torch.equal(nodes.x[own], packed.x[part])
            assert torch.equal(nodes.pos[own], packed.pos[part])
    for place, task in enumerate(batch.tasks):
        assert torch.equal(batch.targets[task], store.target(task)[rows])
        assert torch.equal(batch.masks[:, place], store.mask(task)[rows])


@given(cases())
@settings(max_examples=30)
def test_one_task_alone_is_the_batch_of_a_schema_that_has_no_other(store):
    """Relations among tasks that a schema with one does not have are there, without edges."""
    batch = make_batch(store, store.rows(), topology_of(store))
    for task in store.schema.tasks:
        own = with_tasks(store, [dataclasses.replace(task, derived_from=())])
        expected = make_batch(own, own.rows(), topology_of(own))
        found = batch.only(task.name)
        assert found.tasks == expected.tasks == (task.name,)
        assert list(found.targets) == [task.name]
        assert torch.equal(found.masks, expected.masks)
        for kind, edges in found.edges.items():
            if kind not in expected.edges:
                assert kind == ("task", "relates", "task")
                assert edges.index.shape == (2, 0)
                continue
            assert torch.equal(edges.index, expected.edges[kind].index)
            assert (edges.attr is None) == (expected.edges[kind].attr is None)
        assert set(expected.edges) <= set(found.edges)
    assert batch.tasks == store.schema.task_names  # the batch itself is as it was
    for kind, edges in make_batch(store, store.rows(), topology_of(store)).edges.items():
        assert torch.equal(edges.index, batch.edges[kind].index)


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_some_tasks_are_the_batch_of_a_schema_that_has_no_other(seed):
    """In any order; of all of them it is the batch."""
    store = make_store(seed=seed)
    batch = make_batch(store, store.rows(), topology_of(store))
    for names in (("t2", "t0"), ("t0", "t1", "t2"), ("t1", "t2")):
        tasks = [next(t for t in store.schema.tasks if t.name == name) for name in names]
        own = with_tasks(store, [dataclasses.replace(t, derived_from=()) for t in tasks])
        expected = make_batch(own, own.rows(), topology_of(own))
        found = batch.only(*names)
        assert found.tasks == expected.tasks == names
        assert list(found.targets) == list(names)
        assert torch.equal(found.masks, expected.masks)
        assert set(found.edges) == set(expected.edges)
        for kind, edges in found.edges.items():
            a, b = (e.index[:, order(e.index)] for e in (edges, expected.edges[kind]))
            assert torch.equal(a, b)


def order(index):
    """Of edges, by target and source."""
    return torch.from_numpy(np.lexsort(index.numpy()))


@given(
    st.integers(0, 10**6), st.integers(0, 3), st.integers(0, 3), st.integers(1, 12)
)  # fmt: skip
@settings(max_examples=60)
def test_context_is_the_neighbours_of_the_group_within_the_split(seed, before, after, samples):
    """Against a loop: sort the group's rows of the same split, look left and right."""
    store = make_store(
        ("vector",), ("regression",), samples, seed=seed,
        context=Context(group="g", order="o", before=before, after=after),
    )  # fmt: skip
    group = store.tensors["context/group"].tolist()
    order = store.tensors["context/order"].tolist()
    split = store.split.tolist()
    rows, sample, offset = store.units(store.rows())
    found = list(zip(rows.tolist(), sample.tolist(), offset.tolist(), strict=True))
    expected = []
    for row in range(samples):
        line = [r for r in range(samples) if (group[r], split[r]) == (group[row], split[row])]
        line.sort(key=lambda r: order[r])
        place = line.index(row)
        for step in range(-before, after + 1):
            if 0 <= place + step < len(line):
                expected.append((line[place + step], row, step))
    assert found == expected
    batch = make_batch(store, store.rows(), topology_of(store))
    assert len(batch.masks) == samples  # context brings nodes, but no labels and no task nodes
    for kind, edges in batch.edges.items():
        if kind[2] == "task":
            assert not edges.index.numel() or int(edges.index[1].max()) < samples


def test_context_may_be_of_some_modalities_alone():
    """The others' nodes are then those of the sample without context."""
    context = Context(group="g", order="o", before=2, after=1)
    whole = make_store(("vector", "bytes"), samples=8, context=context, split=[0] * 8)
    names = whole.schema.modality_names
    some = dataclasses.replace(context, modalities=names[:1])
    part = make_store(("vector", "bytes"), samples=8, context=some, split=[0] * 8)
    every, few = (make_batch(s, s.rows(), topology_of(s)) for s in (whole, part))
    assert torch.equal(few.nodes[names[0]].x, every.nodes[names[0]].x)
    own = every.node_offset(names[1]) == 0
    assert not own.all()
    assert torch.equal(few.nodes[names[1]].x, every.nodes[names[1]].x[own])
    assert (few.node_offset(names[1]) == 0).all()
    without = torch.zeros(8, 2, dtype=torch.bool)
    without[:, 1] = True
    assert len(make_batch(part, part.rows(), topology_of(part), without).nodes[names[1]].x) == 0


def test_another_split_moves_the_border_of_context():
    context = Context(group="g", order="o", before=1, after=0)
    store = make_store(("vector",), samples=8, context=context, split=[0] * 8)
    apart = with_split(store, torch.arange(8) % 3)
    assert len(store.units(store.rows())[0]) > len(apart.units(apart.rows())[0])
    rows, sample, _ = apart.units(apart.rows())
    assert torch.equal(apart.split[rows], apart.split[sample])


@given(cases(bonds=True, topology=[{"given": {}}]))
@settings(max_examples=20)
def test_given_edges_join_the_nodes_they_joined_in_their_sample(store):
    ((source, relation, target),) = store.given_types
    name = f"{source}/{relation}/{target}"
    rows = torch.arange(len(store)).flip(0)
    batch = make_batch(store, rows, topology_of(store))
    edges = batch.edges[(source, relation, target)]
    a, b = batch.nodes[source], batch.nodes[target]
    got = list(zip(a.x[edges.index[0]], b.x[edges.index[1]], edges.attr, strict=True))
    own = store.schema.context is None
    ptr = store.tensors[f"edgeptr/{name}"]
    expected = []
    for row in store.units(rows)[0].tolist():
        for e in range(int(ptr[row]), int(ptr[row + 1])):
            i, j = store.tensors[f"edge/{name}"][:, e].tolist()
            x = store.nodes(source).x[store.nodes(source).ptr[row] + i]
            y = store.nodes(target).x[store.nodes(target).ptr[row] + j]
            expected.append((x, y, store.tensors[f"edgeattr/{name}"][e]))
    assert len(got) == len(expected)
    for found, wanted in zip(got, expected, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(found, wanted, strict=True))
    assert own == (not batch.has_context)


def test_to_moves_every_tensor():
    store = make_store(bonds=True, context=Context(group="g", order="o"))
    batch = make_batch(store, store.rows(), topology_of(store)).to("meta")

    def devices(value):
        if isinstance(value, torch.Tensor):
            yield value.device.type
        elif dataclasses.is_dataclass(value):
            for f in dataclasses.fields(value):
                yield from devices(getattr(value, f.name))
        elif isinstance(value, dict):
            for item in value.values():
                yield from devices(item)

    found = list(devices(batch))
    assert len(found) > 20
    assert set(found) == {"meta"}


def test_defaults_wire_given_edges_too():
    store = make_store(("vector", "vector"), bonds=True, missing=0.0)
    batch = make_batch(store, store.rows(), topology_of(store))
    assert batch.edges[("m0", "bond", "m1")].index.shape[1] > 0


@given(cases(), st.integers(0, 99))
@settings(max_examples=30)
def test_a_modality_left_out_is_one_that_the_sample_lacks(store, seed):
    rows = torch.arange(len(store))
    chance = torch.Generator().manual_seed(seed)
    without = torch.rand(len(rows), len(store.schema.modalities), generator=chance) < 0.5
    topology = topology_of(store)
    whole, part = make_batch(store, rows, topology), make_batch(store, rows, topology, without)
    for place, name in enumerate(store.schema.modality_names):
        kept = ~without[whole.node_sample(name), place]
        assert torch.equal(part.nodes[name].x, whole.nodes[name].x[kept])
        assert torch.equal(part.node_sample(name), whole.node_sample(name)[kept])
    for (source, _, target), edges in part.edges.items():
        for end, index in zip((source, target), edges.index, strict=True):
            assert not len(index) or int(index.max()) < (
                len(rows) * len(part.tasks) if end == "task" else len(part.nodes[end].x)
            )
    assert torch.equal(whole.present() & ~without, part.present())
    assert torch.equal(store.present(rows), whole.present())
