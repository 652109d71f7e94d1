"""Fetch a data set's public source, bring it into the documented raw form and check it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gnnfusion.datasets.checksums import compare, expected
from gnnfusion.datasets.files import read_yaml
from gnnfusion.datasets.registry import download_root, recipe
from gnnfusion.errors import DataError, UsageError
from gnnfusion.whole import work_folder

_BLOCK = 1 << 16  # what is lost at most when a connection breaks
_TIMEOUT = 30.0

Report = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes so far, and all bytes where they are known."""


def source(name: str) -> dict[str, Any]:
    """``source.yaml``: homepage, licence, whether anybody has reached it yet, and its files."""
    recipe(name)
    return read_yaml(name, "source.yaml")


def get(
    name: str,
    url: str | None = None,
    *,
    report: Report | None = None,
) -> Path:
    """Fetch a data set into the user's cache; returns the folder.

    Files come down under a temporary name and are resumed where they broke off. The raw form is
    prepared beside its place, compared with ``checksums.json``, and renamed only if it agrees.
    Data that are already there and agree are left as they are.

    Parameters
    ----------
    name
        One of `names`.
    url
        A mirror: each file of the source is fetched as ``URL/FILE`` instead.
    report
        Progress; see `Report`.

    Raises
    ------
    UsageError
        The name is unknown, or the data set is generated and needs no data.
    DataError
        A file is not there or breaks off, or what came differs from the data at hand.
    """
    module = recipe(name)
    if not module.RAW:
        raise UsageError(f"data set {name!r} is generated; there is nothing to fetch")
    goal, truth = download_root() / module.RAW, expected(name)
    if goal.is_dir() and not compare(goal, truth):
        return goal
    parts = download_root() / ".parts" / module.RAW
    parts.mkdir(parents=True, exist_ok=True)
    for entry in source(name)["files"]:
        address = f"{url.rstrip('/')}/{quote(entry['name'])}" if url else entry["url"]
        fetch(address, parts / entry["name"], sha256=entry.get("sha256"), report=report)
    with work_folder(goal) as work:
        module.assemble(parts, work)
        wrong = compare(work, truth)
        if wrong:
            more = f" ({len(wrong) - 1} more like it)" if len(wrong) > 1 else ""
            raise DataError(
                f"what came for {name!r} is not the data this version knows: {wrong[0]}{more}; "
                f"remove {parts} and try again, or get it from elsewhere with --url"
            )
        if goal.exists():
            shutil.rmtree(goal)
        work.rename(goal)
    shutil.rmtree(parts)
    return goal


def fetch(url: str, path: Path, *, sha256: str | None = None, report: Report | None = None) -> Path:
    """Fetch one file, going on where an earlier try broke off.

    Raises
    ------
    DataError
        The server has no such file, cannot be reached or stops early, or the checksum differs.
    """
    if path.is_file() and (sha256 is None or _sha256(path) == sha256):
        return path
    part, tag = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.etag")
    total = _receive(url, part, tag, path.name, report)
    if total is not None and part.stat().st_size != total:
        raise DataError(
            f"{url} stopped at {part.stat().st_size} of {total} bytes; try again to go on from "
            "there"
        )
    found = _sha256(part)
    tag.unlink(missing_ok=True)
    if sha256 is not None and found != sha256:
        part.unlink()
        raise DataError(f"{url} has another checksum than expected; try again or use --url")
    part.replace(path)
    return path


def _receive(url: str, part: Path, tag: Path, name: str, report: Report | None) -> int | None:
    """Append to `part` what is missing; returns the size the server says the whole has."""
    import requests

    start = part.stat().st_size if part.is_file() else 0
    # Identity: lengths and ranges must count the bytes that are written.
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if tag.is_file():
            headers["If-Range"] = tag.read_text(encoding="utf-8")
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code == 416:
                # The part is as long as the whole, or longer: take it as it is, or start again.
                total = _total(answer.headers.get("Content-Range"))
                if total == start:
                    return total
                part.unlink()
                return _receive(url, part, tag, name, report)
            if answer.status_code not in (200, 206):
                raise DataError(
                    f"{url} answered {answer.status_code} {answer.reason}; look at the data "
                    "set's card for its homepage, or give another address with --url"
                )
            if answer.headers.get("ETag"):
                tag.write_text(answer.headers["ETag"], encoding="utf-8")
            go_on = answer.status_code == 206
            if go_on:
                total = _total(answer.headers.get("Content-Range"))
            else:
                length = answer.headers.get("Content-Length")
                total = int(length) if length else None
            with part.open("ab" if go_on else "wb") as file:
                blocks = answer.iter_content(_BLOCK)
                for block in _counted(blocks, file.tell(), name, total, report):
                    file.write(block)
            return total
    except requests.RequestException as error:
        raise DataError(
            f"{url} cannot be reached or broke off ({type(error).__name__}); try again to go on "
            "from there"
        ) from error


def _counted(
    blocks: Iterable[bytes], done: int, name: str, total: int | None, report: Report | None
) -> Iterator[bytes]:
    for block in blocks:
        yield block
        done += len(block)
        if report is not None:
            report(name, done, total)


def _total(content_range: str | None) -> int | None:
    """Size of the whole in ``bytes 5-9/10`` or ``bytes */10``."""
    size = (content_range or "").rpartition("/")[2]
    return int(size) if size.isdigit() else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
