"""``fsdd_digits``: spoken digits (raw sound) paired with handwritten ones, after AV-MNIST."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gnnfusion.datasets.tables import copy_files, need, write_csv
from gnnfusion.errors import DataError, UsageError
from gnnfusion.schema import SPLITS

RAW = "fsdd"
VERSION = 1

ACCENTS = {
    "george": "greek", "jackson": "american", "theo": "american", "lucas": "german",
    "yweweler": "german", "nicolas": "french",
}  # fmt: skip
COLUMNS = ("id", "split", "audio", "image", "digit", "speaker", "accent", "parity", "above_4")
_TEST = range(0, 5)
_VALID = range(5, 10)


def prepare(folder: Path, raw: Path | None, seed: int = 0, images: bool = True) -> None:
    """Write ``table.csv``, ``audio/*.wav`` and ``images/*.png``.

    Recordings 0 to 4 of each digit and speaker are the official test set (300); 5 to 9 are for
    validation (300). Each recording gets a handwritten digit of its class from scikit-learn's
    ``load_digits``. There are fewer images (about 180 a digit) than recordings (300 a digit), so
    an image serves several recordings of one split, and never two splits.

    Parameters
    ----------
    seed
        Of the division and pairing of the images.
    images
        False leaves the images out: sound only.
    """
    source = need(raw, "recordings") / "recordings"
    rows: list[dict[str, object]] = []
    for path in sorted(source.glob("*.wav"), key=lambda p: _parse(p.stem)):
        digit, speaker, index = _parse(path.stem)
        split = "test" if index in _TEST else "valid" if index in _VALID else "train"
        rows.append(
            {
                "id": path.stem,
                "split": split,
                "audio": f"audio/{path.name}",
                "image": None,
                "digit": digit,
                "speaker": speaker,
                "accent": ACCENTS.get(speaker),
                "parity": digit % 2,
                "above_4": int(digit > 4),
            }
        )
    if not rows:
        raise DataError(f"{source} holds no recording; remove the folder and fetch the data again")
    copy_files(source, folder / "audio", (f"{row['id']}.wav" for row in rows))
    if images:
        _pair(rows, folder / "images", seed)
    write_csv(folder / "table.csv", COLUMNS, rows)


def _parse(stem: str) -> tuple[int, str, int]:
    try:
        digit, speaker, index = stem.split("_")
        return int(digit), speaker, int(index)
    except ValueError as error:
        raise DataError(f"recording {stem!r} is not named digit_speaker_index") from error


def _pair(rows: list[dict[str, object]], folder: Path, seed: int) -> None:
    """Give each recording an image of its digit; each image belongs to one split."""
    from PIL import Image
    from sklearn.datasets import load_digits

    if seed < 0:
        raise UsageError("seed must not be negative")
    data = load_digits()
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for digit in range(10):
        pool = rng.permutation(np.flatnonzero(data.target == digit))
        wanted = {s: [r for r in rows if r["digit"] == digit and r["split"] == s] for s in SPLITS}
        # Images are divided as the recordings are, at least one image to a split.
        ends = np.cumsum([len(wanted[s]) for s in SPLITS]) / max(1, sum(map(len, wanted.values())))
        parts = np.split(pool, (ends[:-1] * len(pool)).round().astype(int))
        for split, part in zip(SPLITS, parts, strict=True):
            for n, row in enumerate(wanted[split]):
                # Round after round, each image once a round, in a new order.
                if n % len(part) == 0:
                    part = rng.permutation(part)
                name = f"{part[n % len(part)]:04d}.png"
                row["image"] = f"images/{name}"
        for index in pool:
            pixels = (data.images[index] * 255 / 16).round().astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:04d}.png")


def assemble(parts: Path, out: Path) -> None:
    """Bring the repository's archive into the raw form."""
    from gnnfusion.datasets.archives import zip_files

    (out / "recordings").mkdir()
    for name, content in zip_files(parts / "fsdd.zip", "recordings", ".wav"):
        (out / "recordings" / name).write_bytes(content)
