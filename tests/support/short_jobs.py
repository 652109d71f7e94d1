"""Jobs for pools of processes, in a module that these can import."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnnfusion.whole import write_json


@dataclass(frozen=True)
class Job:
    key: str


def start() -> None:
    """Nothing to prepare."""


def work(job: Job, folder: Path) -> dict[str, Any]:
    """Writes what it found, or dies as a process that the system ends for lack of memory."""
    if job.key == "deadly":
        os._exit(9)
    write_json(folder / f"{job.key}.json", {"key": job.key})
    return {"key": job.key}


def describe(job: Job, result: dict[str, Any]) -> str:
    return f"{job.key}: {result['key']}"
