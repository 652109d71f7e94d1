"""Worker processes: of scripts without a guard, prepared, and gone with their parent."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

KINDS = ("fresh_processes()", "prepared_processes('wave')")


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "script.py"
    path.write_text(textwrap.dedent(script))
    return subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("kind", KINDS)
def test_a_script_without_a_guard_runs_once(kind: str, tmp_path: Path) -> None:
    done = run(
        f"""
        import os
        from concurrent.futures import ProcessPoolExecutor
        from gnnfusion.processes import fresh_processes, prepared_processes, start_worker

        print("script")
        with ProcessPoolExecutor(2, {kind}, start_worker) as pool:
            print(pool.submit(os.getpid).result() != os.getpid())
            print(pool.submit(eval, "'wave' in __import__('sys').modules").result())
        """,
        tmp_path,
    )
    prepared = kind.startswith("prepared") and sys.platform == "linux"
    assert done.stdout.split() == ["script", "True", str(prepared)], done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_workers_end_with_a_parent_that_is_killed(kind: str, tmp_path: Path) -> None:
    done = run(
        f"""
        import os, signal, time
        from concurrent.futures import ProcessPoolExecutor
        from gnnfusion.processes import fresh_processes, prepared_processes, start_worker

        pool = ProcessPoolExecutor(1, {kind}, start_worker)
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 100)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path,
    )
    worker = int(done.stdout)
    until = time.monotonic() + 20
    while _alive(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _alive(worker)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
