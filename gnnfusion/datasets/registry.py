"""The data sets' names, and how a recipe is run once and its result kept."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

from gnnfusion.datasets.files import cache_folder, files_folder, read_yaml
from gnnfusion.datasets.tables import SCHEMA
from gnnfusion.errors import DataError, UsageError
from gnnfusion.schema import Schema
from gnnfusion.whole import work_folder

RECIPES = {
    "planted": "gnnfusion.datasets.planted_clips",
    "planted_v1": "gnnfusion.datasets.planted_tables",
    "mosi": "gnnfusion.datasets.mosi",
    "fsdd_digits": "gnnfusion.datasets.fsdd_digits",
    "houses": "gnnfusion.datasets.houses",
    "utd_mhad": "gnnfusion.datasets.utd_mhad",
}
"""Name of a data set -> module of its recipe."""

_STAMP = "prepared.json"


def names() -> tuple[str, ...]:
    """Names of all data sets."""
    return tuple(RECIPES)


def check_name(name: str) -> None:
    """`UsageError` that lists the names if there is no such data set."""
    if name not in RECIPES:
        raise UsageError(f"there is no data set {name!r}; use one of {', '.join(RECIPES)}")


def recipe(name: str) -> ModuleType:
    """The module of a data set's recipe."""
    check_name(name)
    return importlib.import_module(RECIPES[name])


def load(name: str, out: str | Path | None = None, **options: Any) -> Schema:
    """Prepare a data set's table, media and schema, once, and return the schema.

    Parameters
    ----------
    name
        One of `names`.
    out
        Folder to prepare; by default ``prepared/NAME-<digest>`` in the cache, where the digest
        stands for options, schema, recipe and raw files. A folder prepared alike is used again.
    options
        The recipe's own options, e.g. ``rows=200`` for ``planted``.

    Raises
    ------
    UsageError
        Unknown name or option, or `out` already holds something else.
    DataError
        The raw data are not here; the sentence says how to get them.
    """
    module = recipe(name)
    known = list(inspect.signature(module.prepare).parameters)[2:]
    for option in options:
        if option not in known:
            listed = ", ".join(known) or "none"
            raise UsageError(f"data set {name!r} has no option {option!r}; its options: {listed}")
    raw = raw_folder(name) if module.RAW else None
    digest = _digest(name, module, raw, options)
    if out is None:
        folder = cache_folder() / "prepared" / f"{name}-{digest[:12]}"
    else:
        folder = Path(out)
    if not _is_prepared(folder, digest):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} already holds something else; remove it or choose another")
        _prepare(name, module, raw, options, folder, digest)
    return Schema.from_yaml(folder / SCHEMA)


def defaults(name: str) -> dict[str, Any]:
    """Training settings that validation chose for a data set (``defaults.yaml``); may be empty."""
    check_name(name)
    return read_yaml(name, "defaults.yaml")


def card(name: str) -> str:
    """The data set's card, as Markdown."""
    check_name(name)
    return (files_folder(name) / "card.md").read_text(encoding="utf-8")


def summary(name: str) -> str:
    """The card's first line, without its heading mark."""
    return card(name).splitlines()[0].lstrip("# ").strip()


def available(name: str) -> bool:
    """Whether `load` can prepare the data set here and now."""
    if not recipe(name).RAW:
        return True
    try:
        raw_folder(name)
    except DataError:
        return False
    return True


def raw_folder(name: str) -> Path:
    """Where a data set's raw data lie: ``GNNFUSION_DATA``, then ``data`` in the user's cache.

    Raises
    ------
    DataError
        If they are in neither place.
    """
    module = recipe(name)
    if not module.RAW:
        raise UsageError(f"data set {name!r} is generated and has no raw data")
    roots = [download_root()]
    if os.environ.get("GNNFUSION_DATA"):
        roots.insert(0, Path(os.environ["GNNFUSION_DATA"]))
    for root in roots:
        if (root / module.RAW).is_dir():
            return root / module.RAW
    raise DataError(
        f"the data of {name!r} are not here; fetch them with `gnnfusion data get {name}` or set "
        f"GNNFUSION_DATA to the folder that holds {module.RAW}/"
    )


def download_root() -> Path:
    """Where ``gnnfusion data get`` puts raw data."""
    return cache_folder() / "data"


def _digest(name: str, module: ModuleType, raw: Path | None, options: dict[str, Any]) -> str:
    """Changes with all that a prepared folder depends on; raw files count by name and size."""
    files = []
    if raw is not None:
        paths = sorted(p for p in raw.rglob("*") if p.is_file())
        files = [[p.relative_to(raw).as_posix(), p.stat().st_size] for p in paths]
    schema = files_folder(name) / SCHEMA
    parts = {
        "options": options,
        "version": module.VERSION,
        "schema": schema.read_text(encoding="utf-8") if schema.is_file() else "",
        "raw": [str(raw and raw.resolve()), files],
    }
    try:
        text = json.dumps(parts, sort_keys=True)
    except TypeError as error:
        raise UsageError(f"options of data set {name!r} must be plain values") from error
    return hashlib.sha256(text.encode()).hexdigest()


def _is_prepared(folder: Path, digest: str) -> bool:
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(stamp, dict) and stamp.get("digest") == digest


def _prepare(
    name: str,
    module: ModuleType,
    raw: Path | None,
    options: dict[str, Any],
    folder: Path,
    digest: str,
) -> None:
    """Run the recipe in a temporary folder beside `folder`, then rename it."""
    with work_folder(folder) as work:
        module.prepare(work, raw, **options)
        if not (work / SCHEMA).exists():
            shutil.copyfile(files_folder(name) / SCHEMA, work / SCHEMA)
        stamp = {"name": name, "options": options, "digest": digest}
        (work / _STAMP).write_text(json.dumps(stamp, sort_keys=True) + "\n", encoding="utf-8")
        if folder.is_dir():
            folder.rmdir()
        try:
            work.rename(folder)
        except OSError:
            # Another process may have been faster; its result is the same.
            if not _is_prepared(folder, digest):
                raise
