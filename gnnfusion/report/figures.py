"""All figures: task graphs, training history, interference, scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gnnfusion.errors import UsageError
from gnnfusion.report.canvas import COLOURS, FAINT, INK, PALE, new_figure, quiet_axes, save
from gnnfusion.report.interference import plot_interference
from gnnfusion.report.matrix import plot_matrix
from gnnfusion.report.network_plot import plot_network

__all__ = ["plot_history", "plot_interference", "plot_matrix", "plot_network", "plot_scores"]

_LOWER_IS_BETTER = ("mae", "rmse", "mse", "loss", "nll", "brier")


def plot_history(rows: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Draw losses over epochs, one small panel for each task.

    Parameters
    ----------
    rows
        Rows of ``history.csv``, numbers or text: ``epoch``, ``train_TASK``, ``valid_TASK`` and
        ``valid_score``; the best epoch by the score is marked.
    path
        PNG, SVG or PDF by its ending.
    """
    if not rows:
        raise UsageError("there is no history to draw: no epoch was finished")
    epochs = [_number(row.get("epoch", n)) for n, row in enumerate(rows)]
    tasks = [key.removeprefix("train_") for key in rows[0] if key.startswith("train_")]
    panels: list[tuple[str, dict[str, list[float]]]] = [
        (task, {s: _column(rows, f"{s}_{task}") for s in ("train", "valid")}) for task in tasks
    ]
    score = _column(rows, "valid_score")
    if any(map(math.isfinite, score)):
        panels.append(("all: valid_score", {"valid": score}))
    best = min(range(len(rows)), key=lambda n: score[n] if math.isfinite(score[n]) else math.inf)
    columns = min(len(panels), 3 if len(panels) <= 9 else 5)
    lines = math.ceil(len(panels) / columns)
    figure = new_figure(2.9 * columns + 0.3, 2.1 * lines + 0.5)
    for place, (name, series) in enumerate(panels, start=1):
        axes = figure.add_subplot(lines, columns, place)
        quiet_axes(axes)
        axes.set_title(name, fontsize=9, color=INK)
        for split, colour, style in (("train", COLOURS[0], "--"), ("valid", COLOURS[1], "-")):
            values = series.get(split, [])
            if any(map(math.isfinite, values)):
                axes.plot(epochs, values, style, color=colour, linewidth=1.4, label=split)
        if any(map(math.isfinite, score)):
            axes.axvline(epochs[best], color=FAINT, linewidth=0.8, linestyle=":")
        if place > len(panels) - columns:
            axes.set_xlabel("epoch", fontsize=8, color=FAINT)
        if place == 1:
            axes.legend(fontsize=8, frameon=False)
    figure.suptitle("loss by task; dotted: best epoch on validation", fontsize=10, color=INK)
    figure.tight_layout()
    return save(figure, path)


def plot_scores(scores: Mapping[str, Mapping[str, Mapping[str, float]]], path: str | Path) -> Path:
    """Draw scores of every task, one panel for each metric.

    Parameters
    ----------
    scores
        What is compared (``"nothing known"``, ``"others given"``, a method) -> task -> metric ->
        value, e.g. ``{"test": metrics["test"]}`` of ``metrics.json``. A metric that a task does
        not have leaves a gap.
    path
        PNG, SVG or PDF by its ending.
    """
    tasks = list(dict.fromkeys(t for by_task in scores.values() for t in by_task))
    metrics = list(
        dict.fromkeys(m for by_task in scores.values() for t in by_task.values() for m in t)
    )
    if not metrics:
        raise UsageError("there are no scores to draw")
    blocks = _blocks({m: tuple(t for t in tasks if _has(scores, t, m)) for m in metrics})
    used = [names for names, _ in blocks]
    columns = max(len(block) for _, block in blocks)
    heights = [0.28 * max(1, len(names)) + 0.75 for names in used]
    margin = 0.35 + 0.075 * max(map(len, tasks))
    width, height = margin + 2.0 * columns + 0.2, sum(heights) + 0.45
    figure = new_figure(width, height)
    top = height - 0.4
    for (names, block), tall in zip(blocks, heights, strict=True):
        for n, metric in enumerate(block):
            axes = figure.add_axes((
                (margin + 2.0 * n) / width, (top - tall + 0.35) / height,
                1.75 / width, (tall - 0.75) / height,
            ))  # fmt: skip
            _score_panel(axes, scores, names, metric, labelled=n == 0)
        top -= tall
    _score_legend(figure, list(scores))
    return save(figure, path)


def _blocks(used: Mapping[str, tuple[str, ...]]) -> list[tuple[tuple[str, ...], list[str]]]:
    """Rows of up to four panels: metrics of the same tasks together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for metric, names in used.items():
        groups.setdefault(names, []).append(metric)
    return [
        (names, found[n : n + 4])
        for names, found in groups.items()
        for n in range(0, len(found), 4)
    ]


def _score_panel(
    axes: Any,
    scores: Mapping[str, Mapping[str, Mapping[str, float]]],
    names: Sequence[str],
    metric: str,
    labelled: bool,
) -> None:
    quiet_axes(axes)
    arrow = "←" if metric in _LOWER_IS_BETTER else "→"
    axes.set_title(f"{metric}  {arrow} better", fontsize=9, color=INK)
    for n, (what, by_task) in enumerate(scores.items()):
        shift = 0.2 * (n - (len(scores) - 1) / 2) if len(scores) > 1 else 0.0
        points = [
            (float(by_task[t][metric]), y + shift)
            for y, t in enumerate(names)
            if metric in by_task.get(t, {}) and math.isfinite(_number(by_task[t][metric]))
        ]
        if points:
            axes.plot(*zip(*points, strict=True), "osD^v<"[n % 6], markersize=5,
                      color=COLOURS[n % len(COLOURS)], label=what)  # fmt: skip
    axes.set_yticks(range(len(names)), names if labelled else [""] * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", color=PALE)
    axes.set_axisbelow(True)
    axes.margins(x=0.15)
    axes.locator_params(axis="x", nbins=4)


def _score_legend(figure: Any, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker="osD^v<"[n % 6], color=COLOURS[n % len(COLOURS)])
        for n in range(len(names))
    ]
    figure.legend(handles, names, loc="upper center", ncols=len(names), fontsize=8, frameon=False)


def _has(scores: Mapping[str, Mapping[str, Mapping[str, float]]], task: str, metric: str) -> bool:
    return any(metric in by_task.get(task, {}) for by_task in scores.values())


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [_number(row.get(key)) for row in rows]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
