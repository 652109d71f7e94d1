"""Which data many trainings are on: the same for all of them, and when they are taken up again."""

from __future__ import annotations

import json
from pathlib import Path

from gnnfusion.errors import UsageError
from gnnfusion.graphs.digest import digest
from gnnfusion.graphs.store import GraphStore
from gnnfusion.whole import write_json

FILE = "data.json"


def claim(folder: Path, store: GraphStore) -> None:
    """Mark a folder as one of trainings on this store.

    Raises
    ------
    UsageError
        It is one of trainings on other data, which must not pass for these.
    """
    here = {"data": digest(store)}
    if (folder / FILE).is_file():
        if json.loads((folder / FILE).read_text(encoding="utf-8")) != here:
            raise UsageError(f"{folder} holds trainings on other data; name another folder")
        return
    write_json(folder / FILE, here)


def on_disk(store: GraphStore, folder: Path) -> Path:
    """A folder that holds this very store: its own, or, of one in memory or a view, a copy."""
    data = digest(store)
    if store.path is not None and digest(GraphStore.open(store.path)) == data:
        return store.path
    copy = folder / f"store-{data}"
    if not copy.exists():
        store.save(copy)
    return copy
