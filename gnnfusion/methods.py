"""Tables of methods by name: where each is, what it does, who described it.

A table is plain data, so that the command line lists methods without importing torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from gnnfusion.errors import UsageError


@dataclass(frozen=True)
class Method:
    """An entry of a table of methods.

    Parameters
    ----------
    module
        Where it is; the module defines ``make``.
    summary
        What it does, in one line.
    reference
        Link to the paper.
    """

    module: str
    summary: str
    reference: str


M = TypeVar("M", bound=Method)


def find_method(table: Mapping[str, M], kind: str, name: str) -> M:
    """The entry of that name; `UsageError` lists the names if there is none."""
    if name not in table:
        raise UsageError(f"unknown {kind} {name!r}; use one of {', '.join(table)}")
    return table[name]


def load_method(method: Method) -> Any:
    """The module of a method."""
    return importlib.import_module(method.module)
