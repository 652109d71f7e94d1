"""Words that stand beside every picture of a task graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gnnfusion.relatedness.task_graph import TaskGraph

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOT_INTERPRETABLE = "not interpretable"


def subtitle(graph: TaskGraph) -> str:
    """Method, sample sizes and confidence."""
    assert graph.derived is not None
    tested = [e.n for e in graph.edges(significant_only=False) if not e.derived]
    low, high = (min(tested), max(tested)) if tested else (0, 0)
    sizes = f"n = {low}" if low == high else f"n = {low} to {high}"
    return f"method {graph.method}, {sizes}, {100 * graph.level:.0f} % intervals"


def legend_line(graph: TaskGraph, style: str, extra: str = "") -> str:
    """How to read the picture, in at most three lines."""
    test = f"adjusted p > {graph.alpha:g}"
    if style == "matrix":
        lines = [f"pale and hatched: not significant ({test})"]
    else:
        lines = ["core and band of a line: near and far end of the interval"]
        if any(e.value < graph.null for e in graph.edges()):
            lines[0] += "; purple: below that of an unrelated pair"
        lines.append(f"dashed and thin: not significant ({test})")
    if not graph.interpretable:
        lines = ["the control shows that these values mean nothing, so none counts as a finding"]
    assert graph.derived is not None
    if graph.derived.any():
        how = "derived" if style == "matrix" else "grey dots"
        lines.append(f"{how}: one is computed from the other or both from a third; never a finding")
    if extra:
        lines.append(extra)
    return "\n".join(lines)


def unclear(figure: Figure, axes: Axes, graph: TaskGraph) -> None:
    """Write "not interpretable" across a picture whose control says so."""
    if graph.interpretable:
        return
    size = min(34.0, 3.6 * figure.get_size_inches()[0])
    axes.text(0.5, 0.5, NOT_INTERPRETABLE, transform=axes.transAxes, ha="center", va="center",
              fontsize=size, fontweight="bold", color="#8c1d18", rotation=20, zorder=20,
              bbox={"facecolor": "white", "edgecolor": "#8c1d18", "alpha": 0.85,
                    "boxstyle": "round"})  # fmt: skip
