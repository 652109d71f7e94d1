"""Files and folders are seen whole or not at all, and killed writers leave nothing for good."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gnnfusion.whole import finite, whole_file, work_folder, write_json, write_text

KILLED = """
import os, signal, sys
from gnnfusion.whole import whole_file, work_folder
maker = whole_file if sys.argv[2] == "file" else work_folder
with maker(sys.argv[1]) as place:
    (place if sys.argv[2] == "file" else place / "inner").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_failed_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.txt"
    write_text(path, "old\r\n")
    with pytest.raises(TypeError, match="must be str"), whole_file(path) as part:
        part.write_text("new" if not part.write_text("half") else None)  # type: ignore[arg-type]
    assert path.read_bytes() == b"old\r\n"
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_file_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_json_refuses_nan_before_it_replaces_anything(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text()) == {"x": 1}


def test_what_is_no_number_becomes_none_at_any_depth() -> None:
    values = {"a": [1, float("nan"), {"b": (float("inf"), 2.5)}], "c": "nan", "d": True}
    assert finite(values) == {"a": [1, None, {"b": [None, 2.5]}], "c": "nan", "d": True}


def test_a_work_folder_is_renamed_or_removed(tmp_path: Path) -> None:
    with work_folder(tmp_path / "kept") as work:
        (work / "x").write_text("1")
        work.rename(tmp_path / "kept")
    with work_folder(tmp_path / "left"):
        pass
    assert os.listdir(tmp_path) == ["kept"]
    assert (tmp_path / "kept" / "x").read_text() == "1"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_next_writer_sweeps_up_after_a_killed_one_and_no_other(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "goal"
    with work_folder(path) as living:
        end = subprocess.run([sys.executable, "-c", KILLED, str(path), kind], check=False)
        assert end.returncode == -signal.SIGKILL
        assert len(os.listdir(tmp_path)) == 2  # ours and the killed one's
        write_text(tmp_path / "other", "")  # another goal sweeps nothing of this one's
        assert len(os.listdir(tmp_path)) == 3
        write_text(path, "whole")
        assert living.is_dir()
        assert len(os.listdir(tmp_path)) == 3  # the other, the goal and ours
    assert sorted(os.listdir(tmp_path)) == ["goal", "other"]
