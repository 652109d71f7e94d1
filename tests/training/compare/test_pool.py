"""Trainings in processes: one that dies is one sentence, and what is finished stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from short_jobs import Job, describe, start, work

from gnnfusion.errors import RunError
from gnnfusion.training.compare.pool import run_each


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
