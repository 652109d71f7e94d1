"""Views of a store: as if less had been known, with nothing else changed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_stores import make_store

from gnnfusion.errors import SchemaError, UsageError
from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.views import (
    with_labels_of,
    with_missing,
    with_split,
    with_targets,
    with_topology,
    with_weights,
)
from gnnfusion.schema import Context


def test_another_split_shares_everything_else():
    store = make_store()
    other = with_split(store, torch.full((8,), 2))
    assert len(other.rows("test")) == 8
    assert other.tensors["x/m0"].data_ptr() == store.tensors["x/m0"].data_ptr()
    assert len(store.rows("test")) < 8


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=30)
def test_what_is_left_out_is_as_if_it_had_never_been_there(seed, context):
    """Nodes, edges and attributes are those of a batch that leaves the same modalities out."""
    own = None if context else Context(group="g", order="o")
    store = make_store(seed=seed, bonds=True, context=own)
    draw = torch.Generator().manual_seed(seed)
    labels = torch.rand(8, 3, generator=draw) < 0.5
    modalities = torch.rand(8, 3, generator=draw) < 0.4
    less = with_missing(store, labels, modalities)
    assert torch.equal(less.masks, store.masks & ~labels)
    assert torch.equal(less.present(less.rows()), store.present(store.rows()) & ~modalities)
    rows = store.rows()
    if own is not None:  # `without` is of a sample and its context alike
        return
    found = make_batch(less, rows, topology_of(less))
    expected = make_batch(store, rows, topology_of(store), modalities)
    for name, nodes in expected.nodes.items():
        assert torch.equal(found.nodes[name].x, nodes.x)
        assert torch.equal(found.nodes[name].pos, nodes.pos)
        assert torch.equal(found.nodes[name].ptr, nodes.ptr)
    for kind, edges in expected.edges.items():
        assert torch.equal(found.edges[kind].index, edges.index)
        if edges.attr is not None:
            assert torch.equal(found.edges[kind].attr, edges.attr)


def test_nothing_left_out_changes_nothing():
    store = make_store(bonds=True)
    none = torch.zeros(8, 3, dtype=torch.bool)
    same = with_missing(store, none, none)
    assert all(torch.equal(same.tensors[n], store.tensors[n]) for n in store.tensors)


def test_labels_of_other_tasks_are_as_if_they_had_never_been_there():
    store = make_store()
    less = with_labels_of(store, ("t2", "t0"))
    assert torch.equal(less.masks[:, [0, 2]], store.masks[:, [0, 2]])
    assert not less.masks[:, 1].any()
    assert less.nodes("m0").x is store.nodes("m0").x
    with pytest.raises(UsageError, match="there is no task 'speed'; use t0, t1, t2"):
        with_labels_of(store, ("speed",))


def test_weights_are_those_of_the_schema():
    store = make_store()
    other = with_weights(store, {"t1": 3.0})
    assert [t.weight for t in other.schema.tasks] == [1, 3, 1]
    assert other.nodes("m0").x is store.nodes("m0").x
    assert [t.weight for t in store.schema.tasks] == [1, 1, 1]
    with pytest.raises(UsageError, match="a weight names 'speed', which is no task; use t0, t1"):
        with_weights(store, {"speed": 1.0})


def test_other_targets_are_known_everywhere_and_leave_the_other_tasks():
    store = make_store()
    wanted = torch.arange(8.0)
    other = with_targets(store, {"t0": wanted.numpy()})
    assert other.target("t0").flatten().tolist() == wanted.tolist()
    assert other.mask("t0").all()
    assert other.target("t1") is store.target("t1")
    assert torch.equal(other.masks[:, 1:], store.masks[:, 1:])


def test_the_wiring_alone_is_another():
    store = make_store(("vector", "vector"), samples=6)
    rules = [{"full": {"source": "m0", "target": "m1"}}, {"informs": {"modality": "m0"}}]
    other = with_topology(store, rules)
    batch = make_batch(other, other.rows(), topology_of(other))
    assert list(batch.edges) == [("m0", "full", "m1"), ("m0", "informs", "task")]
    assert other.nodes("m0").x is store.nodes("m0").x
    assert topology_of(store).rules != topology_of(other).rules
    with pytest.raises(SchemaError, match="unknown topology rule 'wire'"):
        with_topology(store, [{"wire": {}}])
