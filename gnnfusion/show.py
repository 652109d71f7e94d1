"""Tables and versions for the terminal."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnnfusion.methods import Method
    from gnnfusion.relatedness.task_graph import TaskGraph

PACKAGES = (
    "torch", "torch-geometric", "torch-scatter", "pytorch-lightning", "scikit-learn", "librosa",
    "av", "sentence-transformers", "networkx", "numpy", "pandas",
)  # fmt: skip


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: ruled on a terminal, plain columns when piped."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*head)
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())


def score_rows(metrics: dict[str, Any]) -> list[list[str]]:
    """Rows (split, task, metric, with no label known, with the others known) of metrics."""
    rows = []
    for split, tasks in metrics["split"].items():
        given = metrics["split_given_others"].get(split, {})
        for task, values in tasks.items():
            for name, value in values.items():
                other = given.get(task, {}).get(name)
                shown = "" if other is None else f"{other:.4f}"
                rows.append([split, task, name, f"{value:.4f}", shown])
    return rows


def edge_rows(graph: TaskGraph) -> list[list[str]]:
    """Rows (from, to, value, interval, p, n) of all pairs of a task graph, largest first."""
    return [
        [e.source, e.target, f"{e.value:.4f}", f"{e.low:.4f} to {e.high:.4f}",
         f"{e.p_adjusted:.4f}" + (" *" if e.significant else ""), str(e.n)]
        for e in graph.edges(significant_only=False)
    ]  # fmt: skip


def comparison_rows(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a comparison: methods, best on validation first, then simple readers."""
    names, tasks = result["main_metrics"], list(result["main_metrics"])
    head = ["method", "valid", "test", "difference", "gain %", *(f"{t} {names[t]}" for t in tasks),
            "parameters", "seconds"]  # fmt: skip
    rows = []
    for m in result["methods"]:
        found = [_plus_minus(*m["metrics"][t][names[t]]) for t in tasks]
        gap = f"{m['low']:+.3f} to {m['high']:+.3f}" if m["name"] != result["best"] else "-"
        rows.append([
            m["name"], f"{m['valid_score']:.3f}", _plus_minus(m["test_score"], m["test_score_sd"]),
            gap, _percent(m["gain"]), *found, str(m["parameters"]), f"{m['seconds']:.0f}",
        ])  # fmt: skip
    for name, simple in result["baselines"].items():
        found = [f"{simple['metrics'][t].get(names[t], float('nan')):.3f}" for t in tasks]
        rows.append([name, "", "", "", _percent(simple["gain"]), *found, "", ""])
    return head, rows


def _plus_minus(mean: float, spread: float) -> str:
    return f"{mean:.3f} ± {spread:.3f}"


def _percent(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:+.1f}"


def methods() -> dict[str, dict[str, dict[str, str]]]:
    """Every method by what it is for and its name: a summary and a reference."""
    from gnnfusion.nn.fusion import FUSIONS
    from gnnfusion.nn.sharing import SHARINGS
    from gnnfusion.training.balancing import BALANCINGS

    tables: dict[str, Mapping[str, Method]] = {
        "fusion": FUSIONS,
        "sharing": SHARINGS,
        "balancing": BALANCINGS,
    }
    return {
        kind: {n: {"summary": m.summary, "reference": m.reference} for n, m in table.items()}
        for kind, table in tables.items()
    }


def environment() -> dict[str, Any]:
    """Versions of what is installed, and the devices there are."""
    from gnnfusion import __version__

    found: dict[str, Any] = {"gnnfusion": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    import torch

    found["devices"] = ["cpu"] + [
        f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())
    ]
    return found
