"""A task graph as a matrix: every value with its interval, findings apart from the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.report.canvas import FAINT, INK, PALE, digits, fold, new_figure, number, save
from gnnfusion.report.captions import legend_line, subtitle, unclear

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable


def plot_matrix(graph: TaskGraph, path: str | Path) -> Path:
    """Draw a task graph as a matrix, source in rows and target in columns.

    The number is the value, the small ones its intervals; hatched cells are not significant after
    adjustment, and derived pairs are crossed out. Colour is the value, or, where only the order
    within a target means something, the place in its column. Legible from 2 to about 20 tasks; the
    format follows the ending of `path`.

    Returns
    -------
    Path
        The file.
    """
    count = len(graph.tasks)
    cell = 0.95 if count <= 6 else 0.78 if count <= 12 else 0.66
    left = 0.55 + 0.085 * max(len(line) for t in graph.tasks for line in fold(t).split("\n"))
    lines = max(fold(t, 9).count("\n") + 1 for t in graph.tasks)
    legend = legend_line(graph, "matrix")
    under, top, right = 0.4 + 0.15 * (legend.count("\n") + 1), 0.88 + 0.16 * lines, 1.35
    side = cell * count
    room = max(0.0, 5.4 - (left + side + right))  # the title needs some width
    width, height = left + side + right + room, top + side + under
    figure = new_figure(width, height)
    at = (left + room / 2) / width
    axes = figure.add_axes((at, under / height, side / width, side / height))

    shade, colours = _colours(graph)
    for i in range(count):
        for j in range(count):
            _cell(axes, graph, i, j, tuple(colours.to_rgba(shade[i, j])), cell)
    axes.set(xlim=(0, count), ylim=(count, 0))
    axes.set_xticks(np.arange(count) + 0.5, [fold(t, 9) for t in graph.tasks])
    axes.set_yticks(np.arange(count) + 0.5, [fold(t) for t in graph.tasks])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=9 if count <= 12 else 8)
    axes.set_ylabel("task i" if graph.symmetric else "from task i", color=FAINT, fontsize=9)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("task j" if graph.symmetric else "to task j", color=FAINT, fontsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)

    bar = figure.add_axes((at + (side + 0.2) / width, under / height, 0.14 / width, side / height))
    figure.colorbar(colours, cax=bar)
    bar.tick_params(labelsize=8)
    if graph.ranks_only:
        bar.set_yticks([0, 1], ["last", "first"])
    else:
        bar.axhline(graph.null, color=INK, linewidth=0.8)

    middle = at + side / width / 2
    figure.text(middle, 1 - 0.14 / height, graph.question, ha="center", va="top",
                fontsize=13, fontweight="bold", color=INK)  # fmt: skip
    figure.text(middle, 1 - 0.42 / height, subtitle(graph), ha="center", va="top",
                fontsize=8, color=FAINT)  # fmt: skip
    figure.text(middle, (under - 0.14) / height, legend, ha="center",
                va="top", fontsize=8, color=FAINT)  # fmt: skip
    unclear(figure, axes, graph)
    return save(figure, path)


def _colours(graph: TaskGraph) -> tuple[np.ndarray, ScalarMappable]:
    """What the colour of each cell says ``[T, T]``, and the colours of such numbers."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    both = colormaps["PuOr_r"]
    if not graph.ranks_only:
        reach = _reach(graph)
        return graph.value, ScalarMappable(Normalize(graph.null - reach, graph.null + reach), both)
    ranks = graph.ranks
    others = np.isfinite(ranks).sum(0) - 1
    place = np.where(others > 0, 1 - (ranks - 1) / np.maximum(others, 1), 0.5)
    upper = ListedColormap(both(np.linspace(0.5, 0.85, 128)))  # light enough to read on
    return place, ScalarMappable(Normalize(0, 1), upper)


def _reach(graph: TaskGraph) -> float:
    shown = np.abs(graph.value - graph.null)[np.isfinite(graph.value)]
    return float(shown.max()) if shown.size and shown.max() > 0 else 1.0


def _cell(axes: Axes, graph: TaskGraph, i: int, j: int, colour: tuple, size: float) -> None:
    from matplotlib.patches import Rectangle

    assert graph.derived is not None
    middle: dict[str, Any] = {"ha": "center", "va": "center"}
    value = graph.value[i, j]
    if i == j:
        axes.add_patch(Rectangle((j, i), 1, 1, facecolor=PALE, edgecolor="white"))
        return
    if not np.isfinite(value) or graph.derived[i, j]:
        axes.add_patch(Rectangle((j, i), 1, 1, facecolor="white", edgecolor=PALE))
        said = "derived" if graph.derived[i, j] else "–"
        axes.text(j + 0.5, i + 0.5, said, fontsize=8 * min(1, size + 0.05), color=FAINT,
                  style="italic", **middle)  # fmt: skip
        if graph.derived[i, j]:
            axes.plot([j, j + 1], [i + 1, i], color=PALE, linewidth=1, zorder=1)
        return
    sure = bool(graph.significant[i, j]) and graph.interpretable
    strength = 1.0 if sure else 0.35 if graph.tested else 0.7
    face = tuple(strength * c + 1 - strength for c in colour[:3])
    axes.add_patch(Rectangle((j, i), 1, 1, facecolor=face, edgecolor="white", linewidth=1))
    if graph.tested and not sure:
        axes.add_patch(Rectangle((j, i), 1, 1, fill=False, hatch="////", linewidth=0,
                                 edgecolor="#e4e4e4"))  # fmt: skip
    light = 0.299 * face[0] + 0.587 * face[1] + 0.114 * face[2]
    ink = "white" if light < 0.5 else INK if sure or not graph.tested else "#4d4d4d"
    places = digits(_reach(graph), graph.null)
    intervals = [
        f"{number(low[i, j], places)} … {number(high[i, j], places)}"
        for low, high in graph.intervals.values()
        if np.isfinite(low[i, j]) and np.isfinite(high[i, j])
    ]
    axes.text(j + 0.5, i + (0.42 if len(intervals) < 2 else 0.32), number(value, places), color=ink,
              fontsize=10.5 * size + 0.6, fontweight="bold" if sure else "normal",
              **middle)  # fmt: skip
    for line, text in enumerate(reversed(intervals)):  # from the last one upwards
        at = i + (0.72 if len(intervals) < 2 else 0.83) - 0.24 * line
        axes.text(j + 0.5, at, text, color=ink, fontsize=7.2 * size + 0.3, **middle)
