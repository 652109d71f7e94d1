"""Extraction in worker processes: ordered results, one thread each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from gnnfusion.errors import DataError
from gnnfusion.processes import fresh_processes, start_worker

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
        min(workers, len(jobs)), mp_context=fresh_processes(), initializer=start_worker
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
