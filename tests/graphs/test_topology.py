"""Each rule against loops over nodes, on random units of random samples."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnfusion.errors import SchemaError
from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.index import pointers
from gnnfusion.graphs.topology import RULES, TASK, Layout, NodeLayout, Topology, default_rules
from gnnfusion.schema import Context, Modality, Schema, Task


@st.composite
def layouts(draw, axes=("time",), dim=1):
    """Two modalities a and b with the same axes, units of samples with offsets -1, 0, 1."""
    units = draw(st.lists(st.lists(st.sampled_from([-1, 1]), unique=True, max_size=2), max_size=3))
    sample = [s for s, others in enumerate(units) for _ in range(len(others) + 1)]
    offset = [o for others in units for o in sorted([0, *others])]
    seed = draw(st.integers(0, 10**6))
    rng = torch.Generator().manual_seed(seed)
    nodes = {}
    for name in ("a", "b"):
        counts = [draw(st.integers(0, 4)) for _ in sample]
        total = sum(counts)
        # Few distinct places, so that ties and exact distances occur.
        pos = torch.randint(0, 4, (total, len(axes)), generator=rng).float() / 2
        if "row" in axes:
            pos = torch.randint(0, 3, (total, len(axes)), generator=rng).float()
        x = torch.randint(0, 3, (total, dim), generator=rng).float()
        spec = NodeSpec((dim,), "float32", tuple(axes))
        nodes[name] = NodeLayout(x, pos, pointers(torch.tensor(counts, dtype=torch.long)), spec)
    return Layout(
        nodes, torch.tensor(sample, dtype=torch.long), torch.tensor(offset, dtype=torch.long),
        len(units), draw(st.integers(1, 3)), draw(st.booleans()),
    )  # fmt: skip


def nodes_of(layout, name):
    """(node, unit) of every node."""
    ptr = layout.nodes[name].ptr.tolist()
    return [(i, u) for u in range(len(ptr) - 1) for i in range(ptr[u], ptr[u + 1])]


def edges(found, kind):
    index = found[kind].index
    listed = [tuple(e) for e in index.T.tolist()]
    assert len(set(listed)) == len(listed), "no edge comes twice"
    return set(listed)


def within(layout, a, b):
    """Pairs of nodes of a unit."""
    return [
        (i, j) for (i, u), (j, v) in itertools.product(nodes_of(layout, a), nodes_of(layout, b))
        if u == v
    ]  # fmt: skip


def distance(layout, a, i, b, j):
    return math.dist(layout.nodes[a].pos[i].tolist(), layout.nodes[b].pos[j].tolist())


@given(layouts(), st.integers(1, 3), st.booleans(), st.booleans())
@settings(max_examples=40)
def test_temporal(layout, window, past, future):
    found = RULES["temporal"](layout, "a", window, past, future)
    before = {(i, j) for i, j in within(layout, "a", "a") if 1 <= j - i <= window}
    assert set(found) == {("a", n, "a") for n, on in (("past", past), ("future", future)) if on}
    if past:
        assert edges(found, ("a", "past", "a")) == before
    if future:
        assert edges(found, ("a", "future", "a")) == {(j, i) for i, j in before}


@given(layouts())
@settings(max_examples=40)
def test_full(layout):
    pairs = within(layout, "a", "a")
    assert edges(RULES["full"](layout, "a"), ("a", "full", "a")) == {
        p for p in pairs if p[0] != p[1]
    }
    assert edges(RULES["full"](layout, "a", "b"), ("a", "full", "b")) == set(
        within(layout, "a", "b")
    )


@given(layouts(), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=40)
def test_aligned(layout, tolerance):
    expected = {
        (i, j) for i, j in within(layout, "a", "b")
        if distance(layout, "a", i, "b", j) <= tolerance
    }  # fmt: skip
    found = RULES["aligned"](layout, "a", "b", tolerance)
    assert edges(found, ("a", "aligned", "b")) == expected


@given(layouts(), st.integers(1, 3))
@settings(max_examples=40)
def test_nearest(layout, k):
    """Each target's k nearest sources of its unit, all if there are fewer; ties by order."""
    expected = set()
    for j, unit in nodes_of(layout, "b"):
        mates = [i for i, u in nodes_of(layout, "a") if u == unit]
        mates.sort(key=lambda i: (distance(layout, "a", i, "b", j), i))
        expected |= {(i, j) for i in mates[:k]}
    assert edges(RULES["nearest"](layout, "a", "b", k), ("a", "nearest", "b")) == expected


@given(layouts(axes=("time",)), st.sampled_from([0.5, 1.0, math.inf]), st.sampled_from([0.0, 0.5]))
@settings(max_examples=40)
def test_ordered(layout, reach, tolerance):
    """Three relations that share the pairs within reach among them."""
    found = RULES["ordered"](layout, "a", "b", reach, tolerance)
    expected = {"past": set(), "present": set(), "future": set()}
    for i, j in within(layout, "a", "b"):
        later = float(layout.nodes["a"].pos[i] - layout.nodes["b"].pos[j])
        if abs(later) <= reach:
            name = "present" if abs(later) <= tolerance else "past" if later < 0 else "future"
            expected[name].add((i, j))
    assert {kind[1]: edges(found, kind) for kind in found} == expected


@given(layouts(axes=()), st.integers(1, 3))
@settings(max_examples=40)
def test_knn(layout, k):
    x = layout.nodes["a"].x
    expected = set()
    for j, unit in nodes_of(layout, "a"):
        mates = [i for i, u in nodes_of(layout, "a") if u == unit and i != j]
        mates.sort(key=lambda i: ((x[i] - x[j]).norm().item(), i))
        expected |= {(i, j) for i in mates[:k]}
    assert edges(RULES["knn"](layout, "a", k), ("a", "knn", "a")) == expected


@given(layouts(axes=("time", "row", "column")), st.sampled_from([4, 8]))
@settings(max_examples=40)
def test_spatial(layout, neighbourhood):
    """Neighbours in the grid of the same picture (all other positions equal)."""
    pos = layout.nodes["a"].pos
    expected = set()
    for i, j in within(layout, "a", "a"):
        (t, r, c), (t2, r2, c2) = pos[i].tolist(), pos[j].tolist()
        steps = (abs(r - r2), abs(c - c2))
        near = max(steps) == 1 if neighbourhood == 8 else sum(steps) == 1
        if t == t2 and near:
            expected.add((i, j))
    assert edges(RULES["spatial"](layout, "a", neighbourhood), ("a", "spatial", "a")) == expected


@given(layouts(), st.integers(2, 3))
@settings(max_examples=40)
def test_template(layout, size):
    """Both directions of each bone in every whole run; nodes left over are not wired."""
    bones = [(0, 1), (1, size - 1)] if size > 2 else [(0, 1)]
    ptr = layout.nodes["a"].ptr.tolist()
    expected = set()
    for a, b in itertools.pairwise(ptr):
        for start in range(a, b - size + 1, size):
            for i, j in bones:
                expected |= {(start + i, start + j), (start + j, start + i)}
    found = RULES["template"](layout, "a", bones, size)
    assert edges(found, ("a", "template", "a")) == expected


@given(layouts())
@settings(max_examples=40)
def test_context_joins_neighbours_to_the_own_nodes_of_their_sample(layout):
    sample, offset = layout.sample.tolist(), layout.offset.tolist()
    found = RULES["context"](layout, "a")
    for name, sign in (("before", -1), ("after", 1)):
        expected = {
            (i, j)
            for (i, u), (j, v) in itertools.product(nodes_of(layout, "a"), nodes_of(layout, "a"))
            if sample[u] == sample[v] and offset[u] == sign and offset[v] == 0
        }
        assert edges(found, ("a", name, "a")) == expected


@given(layouts())
@settings(max_examples=40)
def test_informs_and_asks(layout):
    sample, offset = layout.sample.tolist(), layout.offset.tolist()
    found = RULES["informs"](layout, "a")
    names = {"informs": 0} | (
        {"informs_before": -1, "informs_after": 1} if layout.has_context else {}
    )
    assert {kind[1] for kind in found} == set(names)
    for name, sign in names.items():
        expected = {
            (i, sample[u] * layout.tasks + t)
            for i, u in nodes_of(layout, "a") if offset[u] == sign
            for t in range(layout.tasks)
        }  # fmt: skip
        assert edges(found, ("a", name, TASK)) == expected
        if sign == 0:
            asked = RULES["asks"](layout, "a")
            assert edges(asked, (TASK, "asks", "a")) == {(t, i) for i, t in expected}


@given(layouts())
@settings(max_examples=20)
def test_relates(layout):
    t = layout.tasks
    expected = {
        (s * t + i, s * t + j)
        for s in range(layout.samples) for i in range(t) for j in range(t) if i != j
    }  # fmt: skip
    assert edges(RULES["relates"](layout), (TASK, "relates", TASK)) == expected


SPECS = {
    "wave": NodeSpec((4,), "float32", ("time",)),
    "film": NodeSpec((3, 8, 8), "uint8", ("time",)),
    "photo": NodeSpec((3, 8, 8), "uint8", ("row", "column")),
    "cells": NodeSpec((3,), "float32"),
}


def schema(**more):
    kinds = {"wave": "audio", "film": "video", "photo": "image", "cells": "tabular"}
    tasks = (Task(name="t", kind="binary"), Task(name="u", kind="binary"))
    return Schema(
        modalities=tuple(Modality(name=n, kind=k, columns=(n,)) for n, k in kinds.items()),
        **{"tasks": tasks, **more},
    )


def test_defaults_follow_positions():
    rules = default_rules(schema(), SPECS)
    assert {"temporal": {"modality": "wave"}} in rules
    assert {"spatial": {"modality": "photo"}} in rules
    assert {"full": {"source": "cells"}} in rules
    assert {"nearest": {"source": "wave", "target": "film", "k": 2}} in rules
    assert {"nearest": {"source": "film", "target": "wave", "k": 2}} in rules
    assert sum("nearest" in r for r in rules) == 2
    assert [r["informs"]["modality"] for r in rules if "informs" in r] == list(SPECS)
    assert rules[-1] == {"relates": {}}
    one = schema(tasks=(Task(name="t", kind="binary"),))
    assert {"relates": {}} not in default_rules(one, SPECS)
    context = schema(context=Context(group="g", order="o"))
    assert sum("context" in r for r in default_rules(context, SPECS)) == 4


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([{"radius": {}}], "unknown topology rule 'radius'; use temporal, full"),
        (["full"], "a topology rule is `name: {settings}`, not 'full'"),
        ([{"full": {}, "relates": {}}], "a topology rule is"),
    ],
)
def test_rules_that_are_none_are_said(rules, words):
    with pytest.raises(SchemaError, match=words):
        Topology(rules)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"temporal": {"modality": "sound"}}, "'temporal' names an unknown modality 'sound'"),
        ({"temporal": {"modality": "wave", "reach": 2}}, "topology rule 'temporal': .*reach"),
        ({"spatial": {"modality": "wave"}}, "modality 'wave' has no grid"),
        ({"spatial": {"modality": "photo", "neighbourhood": 6}}, "must be 4 or 8, not 6"),
        ({"knn": {"modality": "photo"}}, "`knn` needs stored vectors; the nodes of 'photo'"),
        ({"aligned": {"source": "wave", "target": "photo"}}, "'wave' and 'photo' do not share"),
        ({"ordered": {"source": "wave", "target": "photo"}}, "do not share an order"),
        ({"nearest": {"source": "cells", "target": "cells"}}, "do not share a time or position"),
        ({"template": {"modality": "wave", "edges": [[0, 5]], "size": 3}}, "outside its 3 nodes"),
    ],
)
def test_settings_that_do_not_fit_are_said(rule, words):
    with pytest.raises(SchemaError, match=words):
        Topology([rule]).types(SPECS, 2)


def test_a_relation_made_twice_is_said():
    twice = Topology([{"full": {"source": "wave"}}, {"full": {"source": "wave"}}])
    with pytest.raises(SchemaError, match="two topology rules make the relation"):
        twice.types(SPECS, 2)
