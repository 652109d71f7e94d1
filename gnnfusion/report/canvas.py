"""What all figures share: no pyplot state, colours that everyone can tell apart, whole files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gnnfusion.whole import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, PALE = "#1a1a1a", "#757575", "#ececec"
MORE, LESS = "#b35806", "#542788"
"""Ends of the diverging map PuOr_r: above and below the value of an unrelated pair."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito (2008): distinct for all common kinds of colour blindness."""


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own canvas, in inches; nothing of `matplotlib.pyplot` is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write PNG, SVG or PDF by the path's ending, without a time stamp, and rename."""
    path = Path(path)
    kind = path.suffix.lstrip(".").lower() or "png"
    stamp = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with whole_file(path) as part:
        figure.savefig(part, format=kind, dpi=130, metadata=stamp.get(kind))  # type: ignore[arg-type]
    return path


def quiet_axes(axes: Axes) -> None:
    """Leave only the axes that are read."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8)


def digits(*values: float) -> int:
    """Decimals that tell such values apart: two significant ones of the largest."""
    largest = max((abs(v) for v in values), default=0.0)
    return 1 if largest >= 10 else 2 if largest >= 0.1 else 3 if largest >= 0.01 else 4


def number(value: float, places: int) -> str:
    """A number with so many decimals, and no minus before zero."""
    text = f"{value:.{places}f}"
    return text.lstrip("-") if float(text) == 0 else text


def fold(name: str, width: int = 12) -> str:
    """A name on several lines, broken after underscores, so that it takes less room."""
    if len(name) <= width + 2:
        return name
    lines = [""]
    for part in name.replace("_", "_\n").split("\n"):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
