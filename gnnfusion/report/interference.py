"""Task interference over training: one line a pair of tasks, one column an epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnnfusion.errors import UsageError
from gnnfusion.report.canvas import FAINT, INK, PALE, fold, new_figure, save

MOST = 30


def plot_interference(rows: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Draw how the gradients of each pair of tasks agree, over the epochs.

    The left panel is the cosine (below zero: what helps one task hurts the other), the right one
    how alike the gradients are in size. Pairs are sorted by their mean cosine, conflicts first; of
    more than thirty pairs those with the most conflict are shown, and the title says so.

    Parameters
    ----------
    rows
        Rows of ``interference.csv``, numbers or text. An epoch in which a pair was never labelled
        together leaves a gap.
    path
        PNG, SVG or PDF by its ending.

    Raises
    ------
    UsageError
        There are no rows.
    """
    from matplotlib.ticker import MaxNLocator

    if not rows:
        raise UsageError("there is no interference to draw: no two tasks were labelled together")
    epochs = sorted({int(row["epoch"]) for row in rows})
    pairs = list(dict.fromkeys((str(row["task_a"]), str(row["task_b"])) for row in rows))
    values = np.full((2, len(pairs), len(epochs)), np.nan)
    for row in rows:
        at = pairs.index((row["task_a"], row["task_b"])), epochs.index(int(row["epoch"]))
        values[:, at[0], at[1]] = float(row["cosine"]), float(row["magnitude_similarity"])
    order = np.argsort(np.nanmean(values[0], 1), kind="stable")[:MOST]
    names = [fold(" – ".join(pairs[i]), 40) for i in order]
    left = 0.4 + 0.075 * max(len(name) for name in names)
    tall = max(1.0, 0.26 * len(names))
    width, height = left + 6.4, tall + 1.5
    figure = new_figure(width, height)
    title = "gradients of pairs of tasks"
    if len(pairs) > MOST:
        title += f": the {MOST} with most conflict of {len(pairs)}"
    figure.suptitle(title, fontsize=10, color=INK)
    panels = (
        ("cosine (below 0: conflict)", "PuOr_r", (-_reach(values[0]), _reach(values[0]))),
        ("similarity of size (1: equal)", "cividis", (0.0, 1.0)),
    )
    for n, (what, colours, limits) in enumerate(panels):
        place = ((left + 3.2 * n) / width, 0.65 / height, 2.4 / width, tall / height)
        axes = figure.add_axes(place)
        axes.set_facecolor(PALE)
        image = axes.imshow(
            values[n][order], aspect="auto", cmap=colours, vmin=limits[0], vmax=limits[1],
            interpolation="nearest", extent=(epochs[0] - 0.5, epochs[-1] + 0.5, len(names), 0),
        )  # fmt: skip
        axes.set_title(what, fontsize=9, color=INK)
        axes.set_xlabel("epoch", fontsize=8, color=FAINT)
        axes.set_yticks(np.arange(len(names)) + 0.5, names if n == 0 else [""] * len(names))
        axes.tick_params(labelsize=8, length=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        bar = figure.add_axes(
            ((left + 3.2 * n + 2.45) / width, 0.65 / height, 0.08 / width, tall / height)
        )
        figure.colorbar(image, cax=bar).ax.tick_params(labelsize=7)
    return save(figure, path)


def _reach(cosines: np.ndarray) -> float:
    """Half the range of colours, so that weak conflicts show as well."""
    largest = float(np.nanmax(np.abs(cosines)))
    return max(0.1, math.ceil(largest * 10) / 10)
