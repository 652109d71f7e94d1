"""Words that stand beside every picture of a task graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gnnfusion.relatedness.task_graph import TaskGraph

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOT_INTERPRETABLE = "not interpretable"
RANKS = "only the order within a target means something, not the size of a value"
UNTESTED = "there is no test, so no pair is a finding"
NOTHING = "no pair can be estimated from these labels, so there is nothing to find"


def subtitle(graph: TaskGraph) -> str:
    """Method, sample sizes, confidence and names of the intervals."""
    assert graph.derived is not None
    tested = [e.n for e in graph.edges(significant_only=False) if not e.derived]
    low, high = (min(tested), max(tested)) if tested else (0, 0)
    sizes = f"n = {low}" if low == high else f"n = {low} to {high}"
    said = f"method {graph.method}, {sizes}"
    if graph.intervals:
        said += f", {100 * graph.level:.0f} % intervals {' and '.join(graph.intervals)}"
    return said


def legend_line(graph: TaskGraph, style: str, extra: str = "") -> str:
    """How to read the picture, in at most five lines."""
    lines = _matrix_lines(graph) if style == "matrix" else _network_lines(graph)
    if not graph.interpretable:
        lines = ["the control shows that these values mean nothing, so none counts as a finding"]
    assert graph.derived is not None
    if graph.inestimable.any() and style == "matrix":
        lines.append("–: not estimable, for want of labels")
    if graph.derived.any():
        how = "derived" if style == "matrix" else "grey dots"
        lines.append(f"{how}: one is computed from the other or both from a third; never a finding")
    if extra:
        lines.append(extra)
    return "\n".join(lines)


def _matrix_lines(graph: TaskGraph) -> list[str]:
    lines = [f"pale and hatched: not significant (adjusted p > {graph.alpha:g})"]
    if not graph.tested:
        lines = [UNTESTED]
    if graph.ranks_only:
        lines.insert(0, f"{RANKS};\ncolour: place of the source within its column")
    if len(graph.intervals) > 1:
        lines.append(f"small numbers: interval {', below it '.join(graph.intervals)}")
    return lines


def _network_lines(graph: TaskGraph) -> list[str]:
    if not graph.tested:
        lines = ["arrow: the source that ranks first for its target; " + UNTESTED]
        return [RANKS, *lines] if graph.ranks_only else lines
    several = len(graph.intervals) > 1
    lines = ["core and band of a line: near and far end of " + (
        "both intervals" if several else "the interval")]  # fmt: skip
    if any(e.value < graph.null for e in graph.edges()):
        lines[0] += "; purple: below that of an unrelated pair"
    if graph.ranks_only:
        lines.insert(0, RANKS)
    lines.append(f"dashed and thin: not significant (adjusted p > {graph.alpha:g})")
    return lines


def unclear(figure: Figure, axes: Axes, graph: TaskGraph) -> None:
    """Write "not interpretable" across a picture whose control says so."""
    if graph.interpretable:
        return
    size = min(34.0, 3.6 * figure.get_size_inches()[0])
    axes.text(0.5, 0.5, NOT_INTERPRETABLE, transform=axes.transAxes, ha="center", va="center",
              fontsize=size, fontweight="bold", color="#8c1d18", rotation=20, zorder=20,
              bbox={"facecolor": "white", "edgecolor": "#8c1d18", "alpha": 0.85,
                    "boxstyle": "round"})  # fmt: skip
