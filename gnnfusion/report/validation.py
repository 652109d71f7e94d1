"""The figure of a validation: predicted against measured gains, one small panel an estimator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gnnfusion.errors import UsageError
from gnnfusion.relatedness.validation import Validation, Verdict
from gnnfusion.report.canvas import COLOURS, FAINT, INK, new_figure, quiet_axes, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
PANEL = 2.15  # inches


def plot_validation(validation: Validation, path: str | Path) -> Path:
    """Draw predicted against measured gains, both standardized within each target.

    The correlation of the points of a panel is the estimator's z-Pearson. A point is a task in a
    group; its colour is the task's, as far as there are colours.

    Parameters
    ----------
    validation
        What was measured and predicted.
    path
        PNG, SVG or PDF by its ending.
    """
    if not validation.verdicts:
        raise UsageError("there is no estimator to draw")
    count = len(validation.verdicts)
    columns = min(COLUMNS, count)
    lines = math.ceil(count / columns)
    width, height = PANEL * max(columns, 2) + 0.75, PANEL * lines + 1.3
    figure = new_figure(width, height)
    left, step = (width - PANEL * columns + 0.65) / 2, PANEL
    first = None
    for n, verdict in enumerate(validation.verdicts):
        place = (
            (left + step * (n % columns)) / width,
            (height - 0.95 - step * (n // columns) - (PANEL - 0.6)) / height,
            (PANEL - 0.35) / width,
            (PANEL - 0.6) / height,
        )
        axes = figure.add_axes(place, sharex=first, sharey=first)
        first = first or axes
        _panel(axes, validation, verdict)
        axes.tick_params(labelleft=n % columns == 0, labelbottom=n + columns >= count)
    ceiling, reliability = validation.ceiling["z_pearson"], validation.truth.reliability()
    known = math.isfinite(reliability)
    said = (
        f"reliability of the gains {reliability:.2f}: r = {ceiling:.2f} is the most to be expected"
        if known else "one training of each: how reliable the gains are is not known"
    )  # fmt: skip
    figure.text(0.5, 1 - 0.14 / height, "does it tell what training together does?", ha="center",
                va="top", fontsize=12, fontweight="bold", color=INK)  # fmt: skip
    figure.text(0.5, 1 - 0.4 / height, said, ha="center", va="top", fontsize=8, color=FAINT)
    _legend(figure, validation.truth.tasks)
    figure.text(0.5, 0.35 / height, "predicted gain, standardized within each target", ha="center",
                va="bottom", fontsize=8, color=FAINT)  # fmt: skip
    figure.text(0.06 / width, 0.5, "measured gain, standardized within each target", ha="left",
                va="center", rotation=90, fontsize=8, color=FAINT)  # fmt: skip
    return save(figure, path)


def _legend(figure: Figure, tasks: Sequence[str]) -> None:
    """Which colour is which task's, where each has one of its own."""
    from matplotlib.lines import Line2D

    if len(tasks) <= len(COLOURS):
        handles = [Line2D([], [], linestyle="", marker="o", markersize=4, color=c)
                   for c in COLOURS[: len(tasks)]]  # fmt: skip
        figure.legend(handles, tasks, loc="lower center", ncols=len(tasks), fontsize=8,
                      frameon=False)  # fmt: skip


def _panel(axes: Axes, validation: Validation, verdict: Verdict) -> None:
    quiet_axes(axes)
    x, y = standardized(verdict.predicted, validation.truth.gains())
    tasks = len(validation.truth.tasks)
    for task in range(tasks):
        colour = COLOURS[task] if tasks <= len(COLOURS) else COLOURS[0]
        axes.plot(x[:, task], y[:, task], "o", markersize=3, alpha=0.6, color=colour,
                  markeredgewidth=0)  # fmt: skip
    axes.axhline(0, color=FAINT, linewidth=0.5, linestyle=":", zorder=0)
    axes.axvline(0, color=FAINT, linewidth=0.5, linestyle=":", zorder=0)
    r = verdict.z_pearson
    said = "no agreement to compute" if not math.isfinite(r) else f"r = {r:.2f}"
    axes.set_title(f"{verdict.method}\n{said}", fontsize=8, color=INK)


def standardized(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both ``[G, T]`` with mean 0 and spread 1 in each column, over what both have; else NaN."""
    both = np.isfinite(predicted) & np.isfinite(truth)
    return _column_scores(predicted, both), _column_scores(truth, both)


def _column_scores(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    count = np.maximum(there.sum(0), 1)
    mean = np.where(there, values, 0.0).sum(0) / count
    centred = np.where(there, values - mean, 0.0)
    spread = np.sqrt((centred**2).sum(0) / count)
    return np.where(there & (spread > 0), centred / np.where(spread > 0, spread, 1.0), np.nan)
