"""Trainings in processes: one that dies is one sentence, and what is finished stays."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gnnfusion.errors import RunError
from gnnfusion.training.compare.pool import run_each
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


def test_a_process_that_dies_is_one_sentence_and_the_finished_are_kept(tmp_path: Path) -> None:
    jobs = [Job("first"), Job("second")]
    found = run_each(jobs, tmp_path, work, describe, start=(start,), jobs=2)
    assert {k: v["key"] for k, v in found.items()} == {"first": "first", "second": "second"}
    with pytest.raises(RunError, match="a training process died, perhaps for lack of memory"):
        run_each([Job("deadly"), Job("other")], tmp_path, work, describe, start=(start,), jobs=2)
    lines = []
    again = run_each(
        [Job("first"), Job("third")], tmp_path, work, describe, start=(start,), jobs=2,
        say=lambda line, done, total: lines.append((line, done, total)),
    )  # fmt: skip
    assert set(again) == {"first", "third"}
    assert lines == [("1 trainings were there already", 1, 2), ("third: third", 2, 2)]
