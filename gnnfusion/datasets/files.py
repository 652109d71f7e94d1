"""Where a data set's own files (card, schema, source, checksums, defaults) and caches lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from gnnfusion.errors import DataError

_PACKAGE = Path(__file__).resolve().parents[1]


def files_folder(name: str = "") -> Path:
    """Folder ``datasets/NAME`` of a checkout, or ``gnnfusion/_data/NAME`` of a wheel.

    The only place that knows both. The folder holds data, never code: nothing puts it on
    ``sys.path``, where it would shadow Hugging Face's ``datasets``.

    Raises
    ------
    DataError
        If the installation lacks the files.
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parent / "datasets"):
        if (root / name).is_dir() and (root / "planted").is_dir():
            return root / name
    raise DataError(f"the files of data set {name!r} are missing here; reinstall gnnfusion")


def read_yaml(name: str, file: str) -> dict[str, Any]:
    """The mapping in ``datasets/NAME/FILE``; empty if there is no such file."""
    path = files_folder(name) / file
    if not path.is_file():
        return {}
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def cache_folder() -> Path:
    """``GNNFUSION_CACHE``, or the user's cache folder as the platform has it."""
    given = os.environ.get("GNNFUSION_CACHE")
    if given:
        return Path(given)
    from platformdirs import user_cache_path

    return user_cache_path("gnnfusion")
