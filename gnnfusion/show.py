"""Tables and versions for the terminal."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from gnnfusion.relatedness.estimators import METHODS

if TYPE_CHECKING:
    from gnnfusion.methods import Method
    from gnnfusion.relatedness.task_graph import TaskGraph
    from gnnfusion.relatedness.validation import Validation

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


def edge_rows(graph: TaskGraph) -> tuple[list[str], list[list[str]]]:
    """Head and rows of all pairs of a task graph, largest first, then those not estimable.

    There is a column for each interval and for the test where the method has them. Where only the
    order within a target means something, pairs are by target and place in it.
    """
    level = f"{100 * graph.level:.0f} %"
    head = ["from", "to", "value", *(f"{level} {name}" for name in graph.intervals)]
    edges, place = graph.edges(significant_only=False), {t: n for n, t in enumerate(graph.tasks)}
    if graph.tested:
        head.append("adjusted p")
    if graph.ranks_only:
        head.append("place in target")
        edges.sort(key=lambda e: place[e.target])  # stable: largest first within a target
    ranks, rows = graph.ranks, []
    for e in edges:
        at = place[e.source], place[e.target]
        row = [e.source, e.target, f"{e.value:.4f}"]
        row += [_interval(low[at], high[at]) for low, high in graph.intervals.values()]
        if graph.tested:
            mark = " *" if e.significant else ""
            row.append("" if e.p_adjusted != e.p_adjusted else f"{e.p_adjusted:.4f}{mark}")
        if graph.ranks_only:
            row.append("" if e.derived else f"{ranks[at]:g}")
        rows.append([*row, str(e.n)])
    for i, j in zip(*graph.inestimable.nonzero(), strict=True):
        row = [graph.tasks[i], graph.tasks[j], "not estimable", *[""] * (len(head) - 3)]
        rows.append([*row, str(graph.n[i, j])])
    return [*head, "n"], rows


def _interval(low: float, high: float) -> str:
    return "" if low != low else f"{low:.4f} to {high:.4f}"


def validation_rows(found: Validation) -> tuple[list[str], list[list[str]]]:
    """Head and rows of estimators against measured gains, each figure beside its ceiling."""
    head = ["method", "question", "Spearman", "at most", "z-Pearson", "at most", "adjusted p",
            "share of best grouping", "seconds"]  # fmt: skip
    rows = [
        [v.method, METHODS[v.method].question, _two(v.spearman), _two(found.ceiling["spearman"]),
         _two(v.z_pearson), _two(found.ceiling["z_pearson"]),
         "" if v.qap_p != v.qap_p else f"{v.qap_p:.4f}", _two(v.grouping), f"{v.seconds:.1f}"]
        for v in found.verdicts
    ]  # fmt: skip
    return head, rows


def _two(value: float) -> str:
    return "" if value != value else f"{value:.2f}"


def comparison_rows(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a comparison: methods, best on validation first, then simple readers."""
    names, tasks = result["main_metrics"], list(result["main_metrics"])
    head = ["method", "valid", "test", "difference", "gain %", *(f"{t} {names[t]}" for t in tasks),
            "parameters", "seconds"]  # fmt: skip
    tried = result.get("search_epochs", {})
    if tried:
        head.append("epochs of a trial")
    rows = []
    for m in result["methods"]:
        found = [_plus_minus(*m["metrics"][t].get(names[t], (None, None))) for t in tasks]
        gap = f"{m['low']:+.3f} to {m['high']:+.3f}" if m["name"] != result["best"] else "-"
        gap += " *" if m["apart"] else ""
        rows.append([
            m["name"], f"{m['valid_score']:.3f}", _plus_minus(m["test_score"], m["test_score_sd"]),
            gap, _percent(m["gain"]), *found, str(m["parameters"]), f"{m['seconds']:.0f}",
        ])  # fmt: skip
        if tried:
            rows[-1].append(f"{median(tried[m['name']]):g}" if tried.get(m["name"]) else "")
    for name, simple in result["baselines"].items():
        found = [_three(simple["metrics"][t].get(names[t])) for t in tasks]
        rows.append(
            [name, "", "", "", _percent(simple["gain"]), *found, "", "", *[""] * bool(tried)]
        )
    return head, rows


def search_effort(trials: int, trial_seconds: float) -> str:
    """What the search of a comparison costs each method, in words."""
    return f"{trials} trials of at most {trial_seconds:g} s" if trials > 1 else "no search"


def _plus_minus(mean: float | None, spread: float | None) -> str:
    """Of a task without test labels there is neither."""
    return "" if mean is None else f"{_three(mean)} ± {_three(spread)}"


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:+.1f}"


def methods() -> dict[str, dict[str, dict[str, str]]]:
    """Every method by what it is for and its name: a summary and a reference.

    Of a method of relatedness also its question and family.
    """
    from gnnfusion.nn.fusion import FUSIONS
    from gnnfusion.nn.sharing import SHARINGS
    from gnnfusion.training.balancing import BALANCINGS

    tables: dict[str, Mapping[str, Method]] = {
        "fusion": FUSIONS,
        "sharing": SHARINGS,
        "balancing": BALANCINGS,
        "relatedness": METHODS,
    }
    return {
        kind: {n: _entry(method) for n, method in table.items()} for kind, table in tables.items()
    }


def _entry(method: Method) -> dict[str, str]:
    parts = ("summary", "reference", "question", "family")
    return {part: getattr(method, part) for part in parts if hasattr(method, part)}


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
