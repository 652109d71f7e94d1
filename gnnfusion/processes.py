"""Worker processes: they need nothing of the user's script, and none outlives its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import process
from multiprocessing.context import BaseContext, SpawnContext, SpawnProcess
from typing import Any


@contextmanager
def _no_main() -> Iterator[None]:
    """Keep a process that starts from running the user's script again.

    It needs nothing from it, and a script without a ``__main__`` guard must work.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class _Spawned(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Any:
        with _no_main():
            return SpawnProcess._Popen(process_obj)  # type: ignore[attr-defined]


class _Spawning(SpawnContext):
    Process = _Spawned  # type: ignore[assignment]


def fresh_processes() -> BaseContext:
    """Processes that start from nothing, with the environment of the moment."""
    return _Spawning()


if sys.platform == "linux":  # libraries of other systems do not all bear a fork
    from multiprocessing.context import ForkServerContext, ForkServerProcess

    class _Forked(ForkServerProcess):
        @staticmethod
        def _Popen(process_obj: process.BaseProcess) -> Any:
            with _no_main():
                return ForkServerProcess._Popen(process_obj)  # type: ignore[attr-defined]

    class _Forking(ForkServerContext):
        Process = _Forked  # type: ignore[assignment]

    def prepared_processes(module: str) -> BaseContext:
        """Processes in which a module is imported already, which can take longer than their work.

        A server without threads imports it once, and is forked for each; this process itself could
        not be, for its thread pools would be gone in the fork, which may hang then. Elsewhere than
        on Linux each process starts from nothing.
        """
        context = _Forking()
        context.set_forkserver_preload([module])
        return context

else:

    def prepared_processes(module: str) -> BaseContext:
        """As `fresh_processes`."""
        return fresh_processes()


def start_worker() -> None:
    """What a worker process calls first: it ends with its parent, and at Ctrl-C without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
