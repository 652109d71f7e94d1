"""``houses``: four photos of a house and its columns; price, area, bedrooms and bathrooms."""

from __future__ import annotations

import math
from pathlib import Path

from gnnfusion.datasets.tables import copy_files, need, write_csv
from gnnfusion.errors import DataError

RAW = "houses"
VERSION = 1

ROOMS = ("bedroom", "bathroom", "kitchen", "frontal")
COLUMNS = (
    "id", *ROOMS, "zip_code", "log_price", "log_area", "price", "area", "bedrooms", "bathrooms",
)  # fmt: skip


def prepare(folder: Path, raw: Path | None) -> None:
    """Write ``table.csv`` and ``photos/*.jpg``; no row is left out.

    Line i of ``HousesInfo.txt`` (bedrooms, bathrooms, area in square feet, zip code, price in
    dollars) belongs to house i, counted from 1. ``log_price`` and ``log_area`` are natural
    logarithms.
    """
    raw = need(raw, "HousesInfo.txt")
    rows = []
    lines = (raw / "HousesInfo.txt").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            bedrooms, bathrooms, area, zip_code, price = line.split()
            row = {
                "id": str(number),
                **{room: f"photos/{number}_{room}.jpg" for room in ROOMS},
                "zip_code": zip_code,
                "log_price": round(math.log(float(price)), 6),
                "log_area": round(math.log(float(area)), 6),
                "price": float(price),
                "area": float(area),
                "bedrooms": float(bedrooms),
                "bathrooms": float(bathrooms),
            }
        except ValueError as error:
            raise DataError(f"line {number} of HousesInfo.txt is not five numbers") from error
        rows.append(row)
    photos = (str(row[room]).removeprefix("photos/") for row in rows for room in ROOMS)
    copy_files(raw, folder / "photos", photos)
    write_csv(folder / "table.csv", COLUMNS, rows)


INEXACT = ("*.jpg",)
"""Photos are resized and encoded anew, which other versions of a library do a little otherwise."""


def assemble(parts: Path, out: Path, size: int = 128) -> None:
    """Bring the repository's archive into the raw form; photos become squares of `size` pixels."""
    import io

    from PIL import Image

    from gnnfusion.datasets.archives import zip_files

    for name, content in zip_files(parts / "houses.zip", "Houses Dataset", ".jpg"):
        with Image.open(io.BytesIO(content)) as photo:
            photo.convert("RGB").resize((size, size)).save(out / name, quality=90)
    for name, content in zip_files(parts / "houses.zip", "Houses Dataset", ".txt"):
        (out / name).write_bytes(content)
