"""Write docs/comparison.md: what `compare_methods.py` found, from its files in docs/results.

    python scripts/comparison_report.py

Nothing is trained, and nothing is rounded into a win: every table is a file's, best on validation
first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from compare_methods import GRAPH, STUDY  # scripts/ is where this program lies
from parts.results import markdown  # scripts/ is where this program lies
from scipy.stats import friedmanchisquare, rankdata

from gnnfusion.show import comparison_rows, search_effort
from gnnfusion.whole import write_text

KINDS = {"fusions": "Fusions", "sharings": "Sharings, on graph fusion",
         "balancings": "Balancings, on graph fusion"}  # fmt: skip
HEAD = """# Comparison of methods

Written by `python scripts/comparison_report.py` from the files of `scripts/compare_methods.py`;
what to make of it is in [results](results.md), how it is done in [comparing](comparing.md). Less is
better: valid and test are the mean over tasks of the loss over that of always predicting the
training mean. The difference is from the method that validation prefers, a 95 % interval over test
rows and seeds; a star says that the two can be told apart, counting how many methods are compared
(Holm). Gain is over single-task training
with graph fusion.
"""


def main() -> None:
    """Read and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--out", type=Path, default=Path("docs/comparison.md"))
    a = parser.parse_args()
    write_text(a.out, "\n".join(page(a.results)) + "\n")
    print(f"wrote {a.out}")


def page(results: Path) -> Iterator[str]:
    """Lines of the page: all data sets, each of them, and those with data missing."""
    yield HEAD
    for kind, title in KINDS.items():
        found = {n: r for n in STUDY if (r := read(results / f"compare_{n}_{kind}.json"))}
        if len(found) > 1:
            yield from ranks(title, found)
    for path in sorted(results.glob("compare_*.json"), key=_order):
        name, kind, *mode = _parts(path)
        if mode or kind not in KINDS:
            continue
        yield from table(f"{name}: {KINDS[kind].lower()}", path)
    for path in sorted(results.glob("compare_*_missing.json"), key=_order):
        name, kind, _ = _parts(path)
        yield from table(f"{name} with half of the labels gone: {KINDS[kind].lower()}", path)


def ranks(title: str, found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Test scores over data sets, with each method's mean rank among those that are in all."""
    scores = {n: {m["name"]: m["test_score"] for m in r["methods"]} for n, r in found.items()}
    common = sorted(set.intersection(*(set(s) for s in scores.values())))
    values = np.array([[s[m] for m in common] for s in scores.values()])
    mean_rank = rankdata(values, axis=1).mean(0)
    yield f"## {title}: all data sets\n"
    rows = [
        [common[m], *(f"{v:.3f}" for v in values[:, m]), f"{mean_rank[m]:.2f}"]
        for m in np.argsort(mean_rank)
    ]
    yield markdown(["test score", *found, "mean rank"], rows) + "\n"
    if len(found) > 2 and len(common) > 2:
        p = float(friedmanchisquare(*values.T).pvalue)
        yield (
            f"Friedman's test over {len(found)} data sets, that all rank alike: p = {p:.2f}. "
            "With so few data sets only large differences in rank can show.\n"
        )


def table(title: str, path: Path) -> Iterator[str]:
    """One comparison."""
    result = json.loads(path.read_text(encoding="utf-8"))
    head, rows = comparison_rows(result)
    kept = result.get("kept")
    if kept:
        head = [*head, "kept"]
        rows = [[*row, f"{kept[row[0]]:.2f}" if row[0] in kept else ""] for row in rows]
    yield f"## {title}\n"
    effort = search_effort(result["trials"], result["trial_seconds"])
    yield f"`{result['command']}`: {effort} and {result['seeds']} seeds for each method.\n"
    yield markdown(head, rows) + "\n"
    yield result["verdict"] + "".join(_graph(result)) + "\n"
    yield f"![{title}](images/{path.stem}.png)\n"
    for name, why in result["left_out"].items():
        yield f"Left out: {name}, for {why}.\n"


def _graph(result: dict[str, Any]) -> Iterator[str]:
    """Where plain graph fusion is not what validation prefers: the gap and its interval."""
    for row in result["methods"]:
        if row["name"] == f"{GRAPH}+auto+static" and row["name"] != result["best"]:
            yield (
                f" Graph fusion ({GRAPH}): {row['difference']:+.3f} from it "
                f"({row['low']:+.3f} to {row['high']:+.3f})."
            )


def read(path: Path) -> dict[str, Any]:
    """A result, or nothing where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _parts(path: Path) -> list[str]:
    """``compare_NAME_KIND[_MODE]`` as name, kind and mode."""
    for kind in KINDS:
        name, there, mode = path.stem.removeprefix("compare_").partition(f"_{kind}")
        if there:
            return [name, kind, *([mode.removeprefix("_")] if mode else [])]
    return [path.stem, "", ""]


def _order(path: Path) -> tuple[int, int]:
    """Data sets in the order of the study, kinds in that of `KINDS`."""
    name, kind, *_ = _parts(path)
    place = list(STUDY).index(name) if name in STUDY else len(STUDY)
    return place, list(KINDS).index(kind) if kind in KINDS else len(KINDS)


if __name__ == "__main__":
    main()
