"""``mosi``: CMU-MOSI, opinion videos: transcript and audio features, with neighbours as context."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from gnnfusion.datasets.tables import need, read_csv, write_csv
from gnnfusion.errors import DataError

RAW = "mosi"
VERSION = 1

COLUMNS = (
    "id", "video", "segment", "start_s", "end_s", "text", "sentiment", "polarity", "intensity",
    "split",
)  # fmt: skip


def prepare(folder: Path, raw: Path | None) -> None:
    """Write ``table.csv`` and the row-aligned ``audio.npy``.

    ``polarity`` is 1 where the sentiment is positive, 0 where negative, and missing where it is
    exactly 0; ``intensity`` is its absolute value. The transcript, upper case without
    punctuation at the source, is lower-cased.
    """
    raw = need(raw, "samples.csv", "audio.npy")
    rows = []
    for sample in read_csv(raw / "samples.csv"):
        sentiment = float(sample["sentiment"])
        rows.append(
            {
                **{k: sample[k] for k in ("id", "video", "segment", "start_s", "end_s", "split")},
                "text": sample["transcript"].lower(),
                "sentiment": sentiment,
                "polarity": None if sentiment == 0 else int(sentiment > 0),
                "intensity": abs(sentiment),
            }
        )
    audio = np.load(raw / "audio.npy", mmap_mode="r", allow_pickle=False)
    if len(audio) != len(rows):
        raise DataError(f"{raw}: audio.npy has {len(audio)} rows and samples.csv {len(rows)}")
    shutil.copyfile(raw / "audio.npy", folder / "audio.npy")
    write_csv(folder / "table.csv", COLUMNS, rows)
