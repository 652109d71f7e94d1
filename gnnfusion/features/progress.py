"""Progress of long work: a bar on a terminal, a line now and then where output is piped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str, total: int, show: bool = True) -> Iterator[Callable[[int], None]]:
    """A function that takes how many more rows are done.

    Written to standard error, so that standard output stays what a command prints.
    """
    if not show or total == 0:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar(what, total) as advance:
            yield advance
    else:
        yield _lines(what, total)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda n: bar.update(task, advance=n)


def _lines(what: str, total: int) -> Callable[[int], None]:
    done, told = 0, 0

    def advance(n: int) -> None:
        nonlocal done, told
        done += n
        tenth = 10 * done // total
        if tenth > told or done == total:
            told = tenth
            print(f"{what}: {done}/{total} rows", file=sys.stderr, flush=True)

    return advance
