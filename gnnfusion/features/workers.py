"""Worker processes for extraction: ordered results, one thread each, gone with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import process
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, TypeVar

from gnnfusion.errors import DataError

Job = TypeVar("Job")
Result = TypeVar("Result")

_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def default_workers() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_jobs(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """Results of ``work(job)`` in the order of the jobs.

    With one worker the work is done here, limited to one thread like that of a worker process.

    Raises
    ------
    DataError
        A worker process died.
    """
    if workers <= 1 or len(jobs) <= 1:
        from threadpoolctl import threadpool_limits

        for job in jobs:
            with threadpool_limits(1):
                result = work(job)
            yield result
        return
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=_Context(), initializer=_start_worker
    )
    waiting: list[Future[Result]] = []
    ahead = 4 * workers  # enough to keep all busy without holding every result in memory
    try:
        with _one_thread():
            rest = iter(jobs)
            for job in rest:
                waiting.append(pool.submit(work, job))
                if len(waiting) >= ahead:
                    break
            while waiting:
                yield waiting.pop(0).result()
                for job in rest:
                    waiting.append(pool.submit(work, job))
                    break
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process died, perhaps for lack of memory; run again with fewer workers "
            "(finished chunks are kept)"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells workers when to stop
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Environment in which worker processes start, so that their libraries use one thread."""
    before = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(_THREAD_SETTINGS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _no_main() -> Iterator[None]:
    """Keep spawned processes from running the user's script again.

    They need nothing from it, and a script without a ``__main__`` guard must work.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Any:
        with _no_main():
            return SpawnProcess._Popen(process_obj)  # type: ignore[attr-defined]


class _Context(SpawnContext):
    Process = _Process  # type: ignore[assignment]
