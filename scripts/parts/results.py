"""Figures of a study: means, tables, and files that say which command and versions gave them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnnfusion.show import environment
from gnnfusion.whole import finite, write_json


def mean_and_spread(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation; that of one value is 0."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def mean_and_error(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean and its standard error; that of one value is NaN."""
    mean, spread = mean_and_spread(values)
    return mean, spread / len(values) ** 0.5 if len(values) > 1 else float("nan")


def markdown(columns: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table."""
    cells = [[f"{v:.4f}" if isinstance(v, float) else str(v if v is not None else "") for v in r]
             for r in rows]  # fmt: skip
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write a study's figures with the command and versions that gave them; print its table."""
    write_json(path, finite({**result, **provenance()}))
    print(markdown(result["columns"], result["rows"]))


def _commit() -> str | None:
    """What git says, or None without it."""
    here = Path(__file__).parent
    asked = ["git", "describe", "--always", "--dirty=+", "--abbrev=7"]
    try:
        return subprocess.run(
            asked, cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def provenance() -> dict[str, Any]:
    """The command that runs, without folders of this machine, and the versions it runs with.

    In a clone of the repository the commit is one of them, with a + where files were changed.
    """
    kept = ("gnnfusion", "python", "torch", "torch-geometric")
    versions = {k: v for k, v in environment().items() if k in kept}
    versions["commit"] = _commit()
    words: list[str] = []
    for word in sys.argv:
        if len(words) and Path(word).is_absolute():
            words.pop()  # the option that names it
        else:
            words.append(word)
    return {"command": " ".join(["python", *words]), "versions": versions}
