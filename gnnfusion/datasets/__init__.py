"""Data sets by name: each recipe turns raw data into a table, its media and a schema.

To add one: a module with ``RAW``, ``VERSION`` and ``prepare`` (see `gnnfusion.datasets.mosi`),
a folder ``datasets/NAME`` with its card, schema, source and checksums, and one line in `RECIPES`.
Recipes are imported when they are first used.
"""

from __future__ import annotations

from gnnfusion.datasets.registry import (
    RECIPES,
    available,
    card,
    defaults,
    load,
    names,
    raw_folder,
    summary,
)

__all__ = [
    "RECIPES", "available", "card", "defaults", "get", "load", "names", "planted_arrays",
    "raw_folder", "summary",
]  # fmt: skip


def __getattr__(name: str) -> object:
    # Lazy: downloading needs an http client, the planted arrays need numpy.
    if name == "get":
        from gnnfusion.datasets.download import get

        return get
    if name == "planted_arrays":
        from gnnfusion.datasets.planted import planted_arrays

        return planted_arrays
    raise AttributeError(f"module 'gnnfusion.datasets' has no attribute {name!r}")
