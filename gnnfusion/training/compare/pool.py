"""Many trainings, here or in processes: what is finished is found again, and a budget ends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

import torch

from gnnfusion.errors import RunError
from gnnfusion.processes import prepared_processes, start_worker
from gnnfusion.training.compare.plan import Trial
from gnnfusion.training.compare.trial import Keyed, load_trial, run_in_process, start_process

Say = Callable[[str, int, int], None]
K = TypeVar("K", bound=Keyed)


def run_all(
    trials: Sequence[Trial],
    store: Path,
    folder: Path,
    *,
    jobs: int,
    threads: int,
    deadline: float | None = None,
    say: Say | None = None,
) -> dict[str, dict[str, Any]]:
    """Results by trial key; in the order given, as far as the time lasts.

    Parameters
    ----------
    trials
        What to train.
    store, folder
        The store's folder, and where results lie.
    jobs, threads
        Processes at once, and threads of each.
    deadline
        `time.monotonic` after which no trial is started; those that run are waited for.
    say
        Called with a line, the number of finished trials and that of all.
    """
    return run_each(
        trials, folder, run_in_process, _line, start=(start_process, threads, str(store)),
        jobs=jobs, deadline=deadline, say=say,
    )  # fmt: skip


def run_each(
    trials: Sequence[K],
    folder: Path,
    work: Callable[[K, Path], dict[str, Any]],
    describe: Callable[[K, dict[str, Any]], str],
    *,
    start: tuple[Any, ...],
    jobs: int,
    deadline: float | None = None,
    say: Say | None = None,
) -> dict[str, dict[str, Any]]:
    """The same for whatever has a key.

    Parameters
    ----------
    trials, folder, jobs, deadline, say
        As in `run_all`.
    work
        Does one and writes its ``KEY.json``; a function of a module, as it goes to processes.
    describe
        The line on one that is done.
    start
        What a process calls first, and the arguments for it.
    """
    found = {}
    for trial in trials:
        before = load_trial(trial, folder)
        if before is not None:
            found[trial.key] = before
    pending = [t for t in {t.key: t for t in trials}.values() if t.key not in found]
    total = len(found) + len(pending)
    if say is not None and found:
        say(f"{len(found)} trainings were there already", len(found), total)
    if not pending:
        return found
    jobs = min(jobs, len(pending))
    asked = pending, folder, work, start, deadline
    for trial, result in _here(*asked) if jobs == 1 else _in_processes(*asked, jobs):
        found[trial.key] = result
        if say is not None:
            say(describe(trial, result), len(found), total)
    return found


Work = Callable[[K, Path], dict[str, Any]]
Finished = Iterator[tuple[K, dict[str, Any]]]


def _here(
    pending: Sequence[K], folder: Path, work: Work[K], start: tuple[Any, ...],
    deadline: float | None,
) -> Finished[K]:  # fmt: skip
    """One after the other in this process, which saves starting another."""
    threads = torch.get_num_threads()
    start[0](*start[1:])
    try:
        for trial in pending:
            if _late(deadline):
                return
            yield trial, work(trial, folder)
    finally:
        torch.set_num_threads(threads)


def _in_processes(
    pending: Sequence[K], folder: Path, work: Work[K], start: tuple[Any, ...],
    deadline: float | None, jobs: int,
) -> Finished[K]:  # fmt: skip
    """In the order in which they end."""
    waiting = list(pending)
    context = prepared_processes(work.__module__)
    with ProcessPoolExecutor(jobs, context, _begin, start) as pool:
        running: dict[Future[dict[str, Any]], K] = {}
        try:
            while running or waiting:
                while waiting and len(running) < jobs and not _late(deadline):
                    trial = waiting.pop(0)
                    running[pool.submit(work, trial, folder)] = trial
                if not running:
                    break
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(done), done.result()
        except BrokenProcessPool as error:
            raise RunError(
                "a training process died, perhaps for lack of memory; call again with fewer jobs "
                "(finished trainings are kept)"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(start: Callable[..., None], *arguments: Any) -> None:
    start_worker()
    start(*arguments)


def _late(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() > deadline


def _line(trial: Trial, result: dict[str, Any]) -> str:
    kind = "final" if trial.final else "search"
    if trial.fold is not None:
        kind = f"fold {trial.fold[0] + 1} of {trial.fold[1]}"
    elif trial.final:
        kind += f", seed {trial.config.seed}"
    if trial.weights:
        kind += ", weights " + " ".join(f"{t}={w:g}" for t, w in trial.weights.items())
    if "failed" in result:
        return f"{trial.candidate} ({kind}): {result['failed']}"
    return f"{trial.candidate} ({kind}): {result['score']:.4f} in {result['seconds']:.0f} s"
