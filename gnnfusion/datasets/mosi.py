"""``mosi``: CMU-MOSI, opinion videos: transcript and audio features, with neighbours as context."""

from __future__ import annotations

import ast
import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gnnfusion.datasets.tables import need, read_csv, write_csv, write_schema
from gnnfusion.errors import DataError

RAW = "mosi"
VERSION = 1

COLUMNS = (
    "id", "video", "segment", "start_s", "end_s", "text", "sentiment", "polarity", "intensity",
    "split",
)  # fmt: skip


def prepare(folder: Path, raw: Path | None, tune: bool = True) -> None:
    """Write ``table.csv`` and the row-aligned ``audio.npy``.

    ``polarity`` is 1 where the sentiment is positive, 0 where negative, and missing where it is
    exactly 0; ``intensity`` is its absolute value. The transcript, upper case without
    punctuation at the source, is lower-cased.

    Parameters
    ----------
    tune
        False leaves the text model that is trained further out of the schema: minutes become
        seconds, and scores fall.
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
    if not tune:
        write_schema(folder, "mosi", without="words")


def assemble(parts: Path, out: Path) -> None:
    """Join transcripts and audio features (one repository) with labels and folds (the SDK)."""
    transcripts = _rows(parts / "transcripts.csv")
    text = {row[0]: row[1] for row in transcripts}
    audio = {}
    for half in ("train", "test"):
        # Row i of the features belongs to the transcript whose number stands first in row i.
        numbers = [int(row[0]) for row in _rows(parts / f"text_{half}.csv")]
        features = _rows(parts / f"audio_{half}0.csv")
        for number, row in zip(numbers, features, strict=True):
            audio[transcripts[number][0]] = np.array(row[:-1], dtype=np.float64)
    folds = _folds(parts / "cmu_mosi_std_folds.py")
    rows = []
    for video, intervals, sentiments in _labels(parts / "CMU_MOSI_Opinion_Labels.csd"):
        for n, ((start, end), (sentiment,)) in enumerate(
            zip(intervals, sentiments, strict=True), start=1
        ):
            rows.append(
                {
                    "id": f"{video}_{n}",
                    "video": video,
                    "segment": n,
                    "start_s": f"{start:.3f}",
                    "end_s": f"{end:.3f}",
                    "transcript": text[f"{video}_{n}"],
                    "sentiment": round(float(sentiment), 4),
                    "split": folds[video],
                }
            )
    write_csv(out / "samples.csv", tuple(rows[0]), rows)
    stacked = np.stack([audio[str(row["id"])] for row in rows])
    np.save(out / "audio.npy", stacked.astype(np.float32))


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.reader(file) if row]


def _folds(path: Path) -> dict[str, str]:
    """Split of each video, read from lists in a Python file without running it."""
    names = {
        "standard_train_fold": "train", "standard_valid_fold": "valid",
        "standard_test_fold": "test",
    }  # fmt: skip
    folds = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            split = names.get(node.targets[0].id)
            if split is not None:
                folds.update(dict.fromkeys(ast.literal_eval(node.value), split))
    return folds


def _labels(path: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Video, intervals ``[n, 2]`` and sentiments ``[n, 1]`` of the SDK's HDF5 file, sorted."""
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            "the labels of 'mosi' come as HDF5; install the reader with: pip install h5py"
        ) from error
    with h5py.File(path, "r") as file:
        data = file["Opinion Segment Labels/data"]
        for video in sorted(data):
            yield video, data[video]["intervals"][:], data[video]["features"][:]
