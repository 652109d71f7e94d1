"""A task graph as nodes and links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gnnfusion.relatedness.task_graph import Edge, TaskGraph
from gnnfusion.report.canvas import (
    FAINT,
    INK,
    LESS,
    MORE,
    PALE,
    digits,
    fold,
    new_figure,
    number,
    save,
)
from gnnfusion.report.captions import NOTHING, legend_line, subtitle, unclear

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_EDGES = 60
"""Most findings drawn; beyond that lines hide each other, and the matrix shows them all."""
_FAINT_UP_TO = 8  # tasks; with more, pairs that are not significant are left out
_NUMBERS_UP_TO = 6

Place = tuple[float, float]


def plot_network(graph: TaskGraph, path: str | Path) -> Path:
    """Draw a task graph as a ring of tasks and the links between them.

    The width of a line is its value: the opaque core reaches to the end of the interval that is
    nearer to "unrelated", the pale band to the farther end (of two intervals, the outermost).
    Orange is above the value of an unrelated pair, purple below. Pairs that are not significant
    are thin and dashed. Related tasks stand next to each other. Of a method without a test, an
    arrow comes from the source that ranks first for its target.

    Returns
    -------
    Path
        The file.
    """
    if not graph.tested:
        graph = replace(graph, symmetric=False)  # whose first source a task is has a direction
    count = len(graph.tasks)
    side = 6.0 if count <= 6 else 7.5 if count <= 12 else 9.5
    high, under = 0.87 * side, 0.75
    height = high + under + 0.65
    figure = new_figure(1.12 * side, height)
    axes = figure.add_axes((0, under / height, 1, high / height))
    axes.set(xlim=(-1.6, 1.6), ylim=(-1.25, 1.25))
    axes.axis("off")
    places = _ring(graph)

    found = _once([e for e in graph.edges(significant_only=False) if not e.derived], graph)
    sure = sorted(
        (e for e in found if e.significant and graph.interpretable),
        key=lambda e: -abs(e.value - graph.null),
    )
    rest = [e for e in found if not (e.significant and graph.interpretable)]
    drawn, extra = sure[:MAX_EDGES], list[str]()
    first = [] if graph.tested or not graph.interpretable else _first(graph, rest)
    rest = [e for e in rest if e not in first]
    if len(sure) > MAX_EDGES:
        extra.append(f"the {MAX_EDGES} largest of {len(sure)} findings")
    if count > _FAINT_UP_TO and rest:
        what = "pairs that are not significant" if graph.tested else "other pairs"
        extra.append(f"{len(rest)} {what} are left out")
        rest = []
    _derived(axes, graph, places)
    widest = 9.0 if count <= 6 else 7.0 if count <= 12 else 5.0
    reach = max((abs(v - graph.null) for e in drawn for v in _ends(e)), default=1.0) or 1.0
    for edge in rest:
        _arrow(axes, graph, places, edge, FAINT, 0.8, 0.45, "--", 2)
    for edge in first:
        _arrow(axes, graph, places, edge, MORE, 2.0, 0.9, "-", 3)
    for edge in reversed(drawn):  # the largest on top
        low, high = _ends(edge)
        near, far = sorted(abs(v - graph.null) for v in (low, high))
        if (low - graph.null) * (high - graph.null) <= 0:
            near = 0.0
        colour = MORE if edge.value > graph.null else LESS
        _arrow(axes, graph, places, edge, colour, widest * far / reach, 0.4, "-", 3, head=False)
        _arrow(axes, graph, places, edge, colour, max(0.8, widest * near / reach), 0.95, "-", 4)
    if count <= _NUMBERS_UP_TO:
        _numbers(axes, graph, places, drawn)
    _nodes(axes, places, count)

    figure.text(0.5, 1 - 0.14 / height, graph.question, ha="center", va="top", fontsize=13,
                fontweight="bold", color=INK)  # fmt: skip
    figure.text(0.5, 1 - 0.42 / height, subtitle(graph), ha="center", va="top", fontsize=8,
                color=FAINT)  # fmt: skip
    if not sure and graph.interpretable and graph.tested:
        extra.insert(0, "no pair is significant" if found else NOTHING)
    figure.text(0.5, 0.08 / height, legend_line(graph, "network", "; ".join(extra)), ha="center",
                va="bottom", fontsize=8, color=FAINT)  # fmt: skip
    unclear(figure, axes, graph)
    return save(figure, path)


def _once(edges: list[Edge], graph: TaskGraph) -> list[Edge]:
    """One edge a pair where the method has no direction."""
    if not graph.symmetric:
        return edges
    order = {t: n for n, t in enumerate(graph.tasks)}
    return [e for e in edges if order[e.source] < order[e.target]]


def _ends(edge: Edge) -> tuple[float, float]:
    """The outermost ends of the edge's intervals; its value where it has none."""
    ends = np.array([edge.low, edge.high, edge.retrained_low, edge.retrained_high, edge.value])
    known = ends[np.isfinite(ends)]
    return float(known.min()), float(known.max())


def _first(graph: TaskGraph, edges: list[Edge]) -> list[Edge]:
    """Of each target the edges from the sources that rank first."""
    ranks, place = graph.ranks, {t: n for n, t in enumerate(graph.tasks)}
    best = np.nanmin(np.where(np.isfinite(ranks), ranks, np.inf), axis=0)
    return [e for e in edges if ranks[place[e.source], place[e.target]] == best[place[e.target]]]


def _ring(graph: TaskGraph) -> dict[str, Place]:
    """Places on a circle, tasks of strong pairs side by side."""
    count = len(graph.tasks)
    order = list(range(count))
    if count > 3:
        from scipy.cluster.hierarchy import leaves_list, linkage
        from scipy.spatial.distance import squareform

        strength = np.nan_to_num(np.abs(graph.value - graph.null))
        kept = graph.significant if graph.tested else graph.ranks == 1
        strength = np.where(kept, strength, 0.0)
        strength = np.maximum(strength, strength.T)
        distance = 1 - strength / (strength.max() or 1.0)
        np.fill_diagonal(distance, 0.0)
        order = [int(n) for n in leaves_list(linkage(squareform(distance), "average"))]
    angles = np.pi / 2 - 2 * np.pi * np.arange(count) / count
    points = zip(np.cos(angles), np.sin(angles), strict=True)
    return {graph.tasks[n]: (float(x), float(y)) for n, (x, y) in zip(order, points, strict=True)}


def _radius(count: int) -> float:
    return 0.09 if count <= 6 else 0.07 if count <= 12 else 0.05


def _nodes(axes: Axes, places: Mapping[str, Place], count: int) -> None:
    from matplotlib.patches import Circle

    radius = _radius(count)
    for name, (x, y) in places.items():
        axes.add_patch(Circle((x, y), radius, facecolor=PALE, edgecolor=INK, linewidth=1, zorder=6))
        away = 1 + radius + 0.04
        across = "left" if x > 0.2 else "right" if x < -0.2 else "center"
        down = "center" if abs(y) < 0.85 else "bottom" if y > 0 else "top"
        axes.text(x * away, y * away, fold(name), ha=across, va=down, color=INK, zorder=7,
                  fontsize=10 if count <= 12 else 9)  # fmt: skip


def _arrow(
    axes: Axes,
    graph: TaskGraph,
    places: Mapping[str, Place],
    edge: Edge,
    colour: str,
    width: float,
    alpha: float,
    line: str,
    layer: int,
    head: bool = True,
) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    gap = _radius(len(graph.tasks)) + 0.02
    start, middle, end = _curve(places[edge.source], places[edge.target], gap, graph.symmetric)
    axes.add_patch(
        FancyArrowPatch(
            path=Curve([start, middle, end], [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3]),
            arrowstyle="-|>" if head and not graph.symmetric else "-",
            mutation_scale=8 + 1.3 * width,
            facecolor=colour if head and not graph.symmetric else "none",
            edgecolor=colour,
            linewidth=width,
            linestyle=line,
            alpha=alpha,
            zorder=layer,
            capstyle="butt",
            joinstyle="miter",
        )
    )


def _curve(a: Place, b: Place, gap: float, symmetric: bool) -> tuple[Place, Place, Place]:
    """Start, control point and end of an arc from a to b.

    It is drawn towards the ring's centre, so that it passes no other node; the two directions of
    a pair keep apart.
    """
    start, end = np.array(a), np.array(b)
    along = (end - start) / (np.linalg.norm(end - start) or 1.0)
    aside = np.zeros(2) if symmetric else 0.11 * np.array([along[1], -along[0]])
    middle = 0.55 * (start + end) / 2 + aside
    first, last = middle - start, middle - end
    start = start + gap * first / (np.linalg.norm(first) or 1.0)
    end = end + gap * last / (np.linalg.norm(last) or 1.0)
    return tuple(start), tuple(middle), tuple(end)


def _derived(axes: Axes, graph: TaskGraph, places: Mapping[str, Place]) -> None:
    assert graph.derived is not None
    for i, j in zip(*np.nonzero(np.triu(graph.derived)), strict=True):
        (ax, ay), (bx, by) = places[graph.tasks[i]], places[graph.tasks[j]]
        axes.plot([ax, bx], [ay, by], color=FAINT, linewidth=1.2, linestyle=":", zorder=1)


def _numbers(axes: Axes, graph: TaskGraph, places: Mapping[str, Place], edges: list[Edge]) -> None:
    """Value and ends of the interval on each line, off its middle towards the bend."""
    reach = max((abs(e.value - graph.null) for e in edges), default=0.0)
    shown = digits(reach, graph.null)
    for edge in edges:
        # Not the middle of the curve, where diagonals meet.
        t = 0.5 if graph.symmetric else 0.33
        a, c, b = _curve(places[edge.source], places[edge.target], 0.1, graph.symmetric)
        x, y = (
            (1 - t) ** 2 * p + 2 * t * (1 - t) * q + t**2 * r
            for p, q, r in zip(a, c, b, strict=True)
        )
        low, high = (number(end, shown) for end in _ends(edge))
        said = f"{number(edge.value, shown)} ({low} … {high})"
        axes.text(x, y, said, fontsize=7, ha="center", va="center", color=INK, zorder=8,
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8,
                        "pad": 0.8})  # fmt: skip
