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


def plot_matrix(graph: TaskGraph, path: str | Path) -> Path:
    """Draw a task graph as a matrix, source in rows and target in columns.

    Colour and number are the value, the small numbers its interval; hatched cells are not
    significant after adjustment, and derived pairs are crossed out. Legible from 2 to about 20
    tasks; the format follows the ending of `path`.

    Returns
    -------
    Path
        The file.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    count = len(graph.tasks)
    cell = 0.95 if count <= 6 else 0.78 if count <= 12 else 0.66
    left = 0.55 + 0.085 * max(len(line) for t in graph.tasks for line in fold(t).split("\n"))
    lines = max(fold(t, 9).count("\n") + 1 for t in graph.tasks)
    under, top, right = 0.95, 0.88 + 0.16 * lines, 1.35
    side = cell * count
    room = max(0.0, 5.4 - (left + side + right))  # the title needs some width
    width, height = left + side + right + room, top + side + under
    figure = new_figure(width, height)
    at = (left + room / 2) / width
    axes = figure.add_axes((at, under / height, side / width, side / height))

    reach = _reach(graph)
    norm = Normalize(graph.null - reach, graph.null + reach)
    colours = colormaps["PuOr_r"]
    for i in range(count):
        for j in range(count):
            _cell(axes, graph, i, j, colours(norm(graph.value[i, j])), cell)
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
    figure.colorbar(ScalarMappable(norm, colours), cax=bar)
    bar.tick_params(labelsize=8)
    bar.axhline(graph.null, color=INK, linewidth=0.8)

    middle = at + side / width / 2
    figure.text(middle, 1 - 0.14 / height, graph.question, ha="center", va="top",
                fontsize=13, fontweight="bold", color=INK)  # fmt: skip
    figure.text(middle, 1 - 0.42 / height, subtitle(graph), ha="center", va="top",
                fontsize=8, color=FAINT)  # fmt: skip
    figure.text(middle, (under - 0.14) / height, legend_line(graph, "matrix"), ha="center",
                va="top", fontsize=8, color=FAINT)  # fmt: skip
    unclear(figure, axes, graph)
    return save(figure, path)


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
    face = colour if sure else tuple(0.35 * c + 0.65 for c in colour[:3])
    axes.add_patch(Rectangle((j, i), 1, 1, facecolor=face, edgecolor="white", linewidth=1))
    if not sure:
        axes.add_patch(Rectangle((j, i), 1, 1, fill=False, hatch="////", linewidth=0,
                                 edgecolor="#e4e4e4"))  # fmt: skip
    light = 0.299 * face[0] + 0.587 * face[1] + 0.114 * face[2]
    ink = "white" if light < 0.5 else INK if sure else "#4d4d4d"
    places = digits(_reach(graph), graph.null)
    axes.text(j + 0.5, i + 0.42, number(value, places), color=ink, fontsize=10.5 * size + 0.6,
              fontweight="bold" if sure else "normal", **middle)  # fmt: skip
    if np.isfinite(graph.low[i, j]) and np.isfinite(graph.high[i, j]):
        said = f"{number(graph.low[i, j], places)} … {number(graph.high[i, j], places)}"
        axes.text(j + 0.5, i + 0.72, said, color=ink, fontsize=7.2 * size + 0.3, **middle)
