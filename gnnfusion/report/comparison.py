"""The figure of a comparison of methods: each one's distance from the one validation prefers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gnnfusion.errors import UsageError
from gnnfusion.report.canvas import COLOURS, FAINT, INK, PALE, new_figure, quiet_axes, save


def plot_comparison(result: Mapping[str, Any], path: str | Path) -> Path:
    """Draw test scores, and their differences from the preferred method with 95 % intervals.

    Parameters
    ----------
    result
        What ``compare.json`` holds.
    path
        PNG, SVG or PDF by its ending.
    """
    rows = list(result["methods"])
    if not rows:
        raise UsageError("there is no method to draw")
    names = [row["name"] for row in rows]
    margin = 0.3 + 0.075 * max(map(len, names))
    width, height = margin + 5.6, 0.3 * len(rows) + 1.3
    figure = new_figure(width, height)
    bottom, tall = 0.65 / height, 0.3 * len(rows) / height
    left = figure.add_axes((margin / width, bottom, 2.3 / width, tall))
    right = figure.add_axes(((margin + 2.7) / width, bottom, 2.7 / width, tall), sharey=left)
    places = range(len(rows))
    for axes in (left, right):
        quiet_axes(axes)
        axes.grid(axis="y", color=PALE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.locator_params(axis="x", nbins=5)
    left.errorbar(
        [r["test_score"] for r in rows], places, xerr=[r["test_score_sd"] for r in rows],
        fmt="o", color=COLOURS[0], markersize=5, linewidth=1.2,
    )  # fmt: skip
    left.set_yticks(list(places), names, fontsize=8, color=INK)
    left.set_ylim(len(rows) - 0.5, -0.5)
    left.set_xlabel("test score, less is better\n(bars: spread over seeds)", fontsize=8, color=INK)
    right.axvline(0, color=FAINT, linewidth=0.8, linestyle=":")
    for place, row in zip(places, rows, strict=True):
        if place == 0:
            right.plot([0], [0], "D", color=INK, markersize=5)
            continue
        tie = not row["apart"]
        colour = FAINT if tie else COLOURS[1 if row["difference"] > 0 else 2]
        right.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.6)
        right.plot([row["difference"]], [place], "o", color=colour, markersize=5,
                   markerfacecolor="white" if tie else colour)  # fmt: skip
    right.tick_params(labelleft=False)
    hollow = "(hollow: not apart after Holm's correction)"
    label = f"difference from the first, 95 % interval\n{hollow}"
    right.set_xlabel(label, fontsize=8, color=INK)
    figure.suptitle(
        "methods, best on validation first", fontsize=10, color=INK, y=1 - 0.18 / height
    )
    return save(figure, path)
