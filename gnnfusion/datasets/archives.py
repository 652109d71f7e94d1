"""Take single files out of downloaded archives."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from gnnfusion.errors import DataError


def zip_files(path: Path, folder: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of all files of a zip in folders of that name with that ending, sorted.

    Only base names are given out, so that no entry can name a place outside the target.

    Raises
    ------
    DataError
        It is no zip archive, is damaged, or holds no such file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = sorted(
                n
                for n in archive.namelist()
                if PurePosixPath(n).parent.name == folder and n.lower().endswith(suffix)
            )
            if not wanted:
                raise DataError(f"{path.name} holds no {folder}/*{suffix}; its layout has changed")
            for entry in wanted:
                yield PurePosixPath(entry).name, archive.read(entry)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path.name} is not a readable zip archive; remove {path}") from error
