"""How nodes are wired: a short list of declarative rules, turned into edges by index arithmetic.

Each rule is one function that takes a `Layout` (which nodes a batch holds) and its settings, and
returns its edge types with their edges, every type present even when it has no edge. A *unit* is
one table row inside one sample's graph: the sample itself or one of its context rows. Rules inside
or between modalities work within a unit; only `context` and `informs` cross units, and nothing
crosses samples.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gnnfusion.errors import SchemaError
from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.index import owners, pairs, ranges, rank_within
from gnnfusion.schema import Schema

EdgeType = tuple[str, str, str]
TASK = "task"


@dataclass(frozen=True)
class Edges:
    """Edges of one relation: ``index`` ``[2, E]`` (source, target), maybe ``attr`` ``[E, D]``."""

    index: Tensor
    attr: Tensor | None = None


@dataclass(frozen=True)
class NodeLayout:
    """The nodes of one modality in a batch; `ptr` ``[U + 1]`` runs over units."""

    x: Tensor
    pos: Tensor
    ptr: Tensor
    spec: NodeSpec

    @property
    def unit(self) -> Tensor:
        return owners(self.ptr)


@dataclass(frozen=True)
class Layout:
    """All that rules may look at. `sample` and `offset` are per unit, ``[U]``."""

    nodes: Mapping[str, NodeLayout]
    sample: Tensor
    offset: Tensor
    samples: int
    tasks: int
    has_context: bool = False
    given: Mapping[EdgeType, Edges] = field(default_factory=dict)


Rule = Callable[..., dict[EdgeType, Edges]]


def temporal(
    layout: Layout, modality: str, window: int = 1, past: bool = True, future: bool = True
) -> dict[EdgeType, Edges]:
    """Join each node to the `window` nodes before (``past``) and after it (``future``)."""
    nodes = layout.nodes[modality]
    unit = nodes.unit
    here = torch.arange(len(unit), device=unit.device)
    steps = []
    for step in range(1, window + 1):
        same = unit[step:] == unit[:-step]
        steps.append(torch.stack([here[:-step][same], here[step:][same]]))
    forward = torch.cat(steps, 1)
    out = {}
    if past:
        out[(modality, "past", modality)] = Edges(forward)
    if future:
        out[(modality, "future", modality)] = Edges(forward.flip(0))
    return out


def full(layout: Layout, source: str, target: str | None = None) -> dict[EdgeType, Edges]:
    """Join every node of `source` to every node of `target`; itself excepted within a modality."""
    target = target or source
    index = _pairs(layout, source, target)
    if source == target:
        index = index[:, index[0] != index[1]]
    return {(source, "full", target): Edges(index)}


def aligned(
    layout: Layout, source: str, target: str, tolerance: float = 0.1
) -> dict[EdgeType, Edges]:
    """Join nodes whose positions differ by at most `tolerance` (say, seconds)."""
    index = _pairs(layout, source, target)
    near = _distance(layout, source, target, index) <= tolerance
    return {(source, "aligned", target): Edges(index[:, near])}


def nearest(layout: Layout, source: str, target: str, k: int = 1) -> dict[EdgeType, Edges]:
    """Join each `target` node to the `k` `source` nodes nearest in position."""
    index = _pairs(layout, source, target)
    rank = rank_within(index[1], _distance(layout, source, target, index))
    return {(source, "nearest", target): Edges(index[:, rank < k])}


def ordered(
    layout: Layout, source: str, target: str, reach: float = float("inf"), tolerance: float = 0.1
) -> dict[EdgeType, Edges]:
    """Join nodes of two modalities that are at most `reach` apart in time, those before a target,
    at it (within the `tolerance`) and after it through relations of their own."""
    columns = layout.nodes[source].spec.position
    if columns != layout.nodes[target].spec.position or columns not in (("time",), ("index",)):
        raise SchemaError(f"{source!r} and {target!r} do not share an order, so none is before")
    index = _pairs(layout, source, target)
    later = (layout.nodes[source].pos[index[0]] - layout.nodes[target].pos[index[1]]).squeeze(1)
    near = later.abs() <= reach
    apart = later.abs() > tolerance
    return {
        (source, name, target): Edges(index[:, near & chosen])
        for name, chosen in (
            ("past", apart & (later < 0)), ("present", ~apart), ("future", apart & (later > 0))
        )
    }  # fmt: skip


def spatial(layout: Layout, modality: str, neighbourhood: int = 8) -> dict[EdgeType, Edges]:
    """Join patches of a grid to their 4 or 8 neighbours (of the same picture)."""
    if neighbourhood not in (4, 8):
        raise SchemaError(f"spatial neighbourhood must be 4 or 8, not {neighbourhood}")
    columns = layout.nodes[modality].spec.position
    if not {"row", "column"} <= set(columns):
        raise SchemaError(f"modality {modality!r} has no grid, so `spatial` cannot wire it")
    index = _pairs(layout, modality, modality)
    pos = layout.nodes[modality].pos
    delta = (pos[index[0]] - pos[index[1]]).abs()
    grid = delta[:, [columns.index("row"), columns.index("column")]]
    reach = grid.amax(1) if neighbourhood == 8 else grid.sum(1)
    other = [i for i, c in enumerate(columns) if c not in ("row", "column")]
    near = (reach == 1) & (delta[:, other] == 0).all(1)
    return {(modality, "spatial", modality): Edges(index[:, near])}


def knn(layout: Layout, modality: str, k: int = 4) -> dict[EdgeType, Edges]:
    """Join each node to the `k` nodes of its unit whose stored vectors are nearest (Euclidean)."""
    nodes = layout.nodes[modality]
    if len(nodes.spec.shape) != 1 or not nodes.spec.dtype.startswith("float"):
        raise SchemaError(f"`knn` needs stored vectors; the nodes of {modality!r} are not vectors")
    index = _pairs(layout, modality, modality)
    index = index[:, index[0] != index[1]]
    distance = (nodes.x[index[0]].float() - nodes.x[index[1]].float()).norm(dim=1)
    return {(modality, "knn", modality): Edges(index[:, rank_within(index[1], distance) < k])}


def template(
    layout: Layout, modality: str, edges: Sequence[Sequence[int]], size: int
) -> dict[EdgeType, Edges]:
    """Repeat fixed undirected `edges` (such as bones) in every run of `size` nodes of a unit."""
    bones = torch.as_tensor(edges, dtype=torch.long, device=layout.sample.device).reshape(-1, 2)
    if len(bones) and not 0 <= int(bones.min()) <= int(bones.max()) < size:
        raise SchemaError(f"template of {modality!r} has an edge outside its {size} nodes")
    ptr = layout.nodes[modality].ptr
    runs = ptr.diff() // size
    start = torch.repeat_interleave(ptr[:-1], runs) + size * ranges(torch.zeros_like(runs), runs)
    both = torch.cat([bones, bones.flip(1)])
    index = (start.view(-1, 1, 1) + both).reshape(-1, 2).T
    return {(modality, "template", modality): Edges(index)}


def given(layout: Layout) -> dict[EdgeType, Edges]:
    """Edges that were stored with each sample."""
    return dict(layout.given)


def context(layout: Layout, modality: str) -> dict[EdgeType, Edges]:
    """Join context nodes to the sample's own nodes of the same modality, before and after apart."""
    unit = layout.nodes[modality].unit
    offset = layout.offset[unit]
    sample = layout.sample[unit]
    out = {}
    own = torch.zeros(layout.samples + 1, dtype=torch.long, device=unit.device)
    own[1:] = torch.bincount(sample[offset == 0], minlength=layout.samples).cumsum(0)
    own_index = (offset == 0).nonzero().squeeze(1)
    for name, chosen in (("before", offset < 0), ("after", offset > 0)):
        ptr = torch.zeros_like(own)
        ptr[1:] = torch.bincount(sample[chosen], minlength=layout.samples).cumsum(0)
        index = pairs(ptr, own)
        source = chosen.nonzero().squeeze(1)[index[0]]
        out[(modality, name, modality)] = Edges(torch.stack([source, own_index[index[1]]]))
    return out


def informs(layout: Layout, modality: str) -> dict[EdgeType, Edges]:
    """Join each node to all tasks of its sample; context nodes through relations of their own."""
    unit = layout.nodes[modality].unit
    offset = layout.offset[unit]
    names = [("informs", offset == 0)]
    if layout.has_context:
        names += [("informs_before", offset < 0), ("informs_after", offset > 0)]
    out = {}
    for name, chosen in names:
        node = chosen.nonzero().squeeze(1)
        source = torch.repeat_interleave(node, layout.tasks)
        first = layout.sample[unit[node]] * layout.tasks
        target = ranges(first, torch.full_like(first, layout.tasks))
        out[(modality, name, TASK)] = Edges(torch.stack([source, target]))
    return out


def asks(layout: Layout, modality: str) -> dict[EdgeType, Edges]:
    """Join all tasks of a sample to its own nodes of the modality."""
    own = informs(layout, modality)[(modality, "informs", TASK)]
    return {(TASK, "asks", modality): Edges(own.index.flip(0))}


def relates(layout: Layout) -> dict[EdgeType, Edges]:
    """Join every task of a sample to every other; no self loops."""
    ptr = torch.arange(layout.samples + 1, device=layout.sample.device) * layout.tasks
    index = pairs(ptr, ptr)
    return {(TASK, "relates", TASK): Edges(index[:, index[0] != index[1]])}


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        temporal, full, aligned, nearest, ordered, spatial, knn, template, given, context, informs,
        asks, relates,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Topology:
    """An ordered list of rules.

    Parameters
    ----------
    rules
        Mappings of one rule name to its settings, as in the YAML:
        ``{"temporal": {"modality": "audio", "window": 2}}``.

    Raises
    ------
    SchemaError
        A rule is unknown.

    Examples
    --------
    >>> Topology([{"temporal": {"modality": "audio", "window": 2}}])
    Topology(rules=({'temporal': {'modality': 'audio', 'window': 2}},))
    """

    rules: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", tuple(self.rules))
        for rule in self.rules:
            if not isinstance(rule, Mapping) or len(rule) != 1:
                raise SchemaError(f"a topology rule is `name: {{settings}}`, not {rule!r}")
            (name,) = rule
            if name not in RULES:
                raise SchemaError(f"unknown topology rule {name!r}; use {', '.join(RULES)}")

    def edges(self, layout: Layout) -> dict[EdgeType, Edges]:
        """All edges of a batch by type; a rule with settings that do not fit raises SchemaError."""
        out: dict[EdgeType, Edges] = {}
        for rule in self.rules:
            ((name, settings),) = rule.items()
            settings = dict(settings or {})
            for key in ("modality", "source", "target"):
                if key in settings and settings[key] not in layout.nodes:
                    raise SchemaError(
                        f"topology rule {name!r} names an unknown modality {settings[key]!r}"
                    )
            try:
                found = RULES[name](layout, **settings)
            except TypeError as error:
                raise SchemaError(f"topology rule {name!r}: {error}") from error
            for kind, edges in found.items():
                if kind in out:
                    raise SchemaError(f"two topology rules make the relation {kind}")
                out[kind] = edges
        return out

    def types(
        self, specs: Mapping[str, NodeSpec], tasks: int, has_context: bool = False,
        given: Sequence[EdgeType] = (),
    ) -> tuple[EdgeType, ...]:  # fmt: skip
        """All relations these rules make, in order: those of a batch without samples."""
        none = torch.zeros(0, dtype=torch.long)
        nodes = {
            name: NodeLayout(
                torch.zeros(0, *spec.shape, dtype=getattr(torch, spec.dtype)),
                torch.zeros(0, len(spec.position)),
                torch.zeros(1, dtype=torch.long),
                spec,
            )
            for name, spec in specs.items()
        }
        empty = {kind: Edges(none.new_zeros(2, 0)) for kind in given}
        return tuple(self.edges(Layout(nodes, none, none, 0, tasks, has_context, empty)))


def default_rules(schema: Schema, specs: Mapping[str, NodeSpec]) -> list[dict[str, Any]]:
    """Wiring that fits the modalities' positions, for a schema that says nothing.

    Sequences are joined in order, grids to their neighbours, the rows of a table fully; modalities
    that share a time axis to their two nearest nodes in time; every modality informs every task,
    and tasks relate to each other.
    """
    rules: list[dict[str, Any]] = []
    for name, spec in specs.items():
        if {"row", "column"} <= set(spec.position):
            rules.append({"spatial": {"modality": name}})
        elif set(spec.position) & {"time", "index"}:
            rules.append({"temporal": {"modality": name}})
        elif schema.modality(name).kind == "tabular":
            rules.append({"full": {"source": name}})
        if schema.context is not None:
            rules.append({"context": {"modality": name}})
    timed = [name for name, spec in specs.items() if spec.position == ("time",)]
    for source, target in itertools.permutations(timed, 2):
        rules.append({"nearest": {"source": source, "target": target, "k": 2}})
    rules += [{"informs": {"modality": name}} for name in specs]
    if len(schema.tasks) > 1:
        rules.append({"relates": {}})
    return rules


def _pairs(layout: Layout, source: str, target: str) -> Tensor:
    return pairs(layout.nodes[source].ptr, layout.nodes[target].ptr)


def _distance(layout: Layout, source: str, target: str, index: Tensor) -> Tensor:
    a, b = layout.nodes[source], layout.nodes[target]
    if a.spec.position != b.spec.position or not a.spec.position:
        raise SchemaError(
            f"{source!r} and {target!r} do not share a time or position axis "
            f"({a.spec.position} and {b.spec.position}), so they cannot be aligned"
        )
    return (a.pos[index[0]] - b.pos[index[1]]).norm(dim=1)
