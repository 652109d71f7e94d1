"""Worker processes: they need nothing of the user's script, and none outlives its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import types
from multiprocessing.context import BaseContext, SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess


class _WithoutMain(BaseProcess):
    """A process that does not run the user's script again when it starts.

    It needs nothing from it, and a script without a ``__main__`` guard must work.
    """

    def start(self) -> None:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            super().start()
        finally:
            sys.modules["__main__"] = main


class _Spawned(_WithoutMain, SpawnProcess):
    pass


class _Spawning(SpawnContext):
    Process = _Spawned  # type: ignore[assignment]


if sys.platform == "linux":
    from multiprocessing.context import ForkServerContext, ForkServerProcess

    class _Forked(_WithoutMain, ForkServerProcess):
        pass

    class _Forking(ForkServerContext):
        Process = _Forked  # type: ignore[assignment]


def fresh_processes() -> BaseContext:
    """Processes that start from nothing, with the environment of the moment."""
    return _Spawning()


def prepared_processes(module: str) -> BaseContext:
    """Processes in which a module is imported already, which can take longer than their work.

    A server that does nothing but import it is forked for each; this process itself could not be,
    for its thread pools would be gone in the fork, which may hang then. Elsewhere than on Linux,
    where not all libraries bear a fork, each process starts from nothing.
    """
    if sys.platform == "linux":
        context = _Forking()
        context.set_forkserver_preload([module])
        return context
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
