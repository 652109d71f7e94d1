"""Write the small table that README.md and docs/ work with: inspections of machines.

    python docs/example_table.py machines

makes ``machines/`` with ``table.csv`` (240 rows), ``new.csv`` (5 rows without labels), ``photos/``
and ``sounds/``. A photo shows a belt, which a fault tears; a sound hums, and rattles with wear; a
note says what the worker saw. Labels: ``fault`` (none, belt, bearing), ``wear`` (a number),
``urgent`` (yes, no) and ``paint`` (the colour of the machine, which has nothing to do with the
rest). Photos, sounds and labels are missing here and there, as in real tables.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageDraw

PAINTS = {"blue": (60, 90, 170), "green": (60, 140, 80), "grey": (130, 130, 130)}
NOTES = {
    "none": ("Runs without trouble", "Nothing to report"),
    "belt": ("The belt looks loose", "A strip of rubber on the floor"),
    "bearing": ("It squeaks when it starts", "The housing gets hot quickly"),
}
RATE = 8_000


def main(folder: Path, rows: int = 240, seed: int = 0) -> None:
    for name in ("photos", "sounds"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    _write(folder / "table.csv", [_row(folder, rng, f"m{n:03d}", True) for n in range(rows)])
    _write(folder / "new.csv", [_row(folder, rng, f"n{n:03d}", False) for n in range(5)])


def _row(folder: Path, rng: np.random.Generator, name: str, labelled: bool) -> dict[str, object]:
    hidden = rng.standard_normal()  # the true state; no modality shows it without noise
    fault = "none" if hidden < 0.2 else str(rng.choice(["belt", "bearing"]))
    wear = 2.0 + hidden + 0.3 * rng.standard_normal()
    urgent = hidden + 0.5 * rng.standard_normal() > 0.5
    paint = str(rng.choice(list(PAINTS)))
    row: dict[str, object] = {"id": name, "photo": "", "sound": "", "note": ""}
    if rng.random() > 0.1:
        row["photo"] = f"photos/{name}.png"
        torn = fault == "belt" and rng.random() < 0.7
        _photo(PAINTS[paint], torn, rng).save(folder / "photos" / f"{name}.png")
    if rng.random() > 0.1:
        row["sound"] = f"sounds/{name}.wav"
        soundfile.write(folder / "sounds" / f"{name}.wav", _sound(hidden, rng), RATE)
    if rng.random() > 0.1:
        said = fault if rng.random() < 0.6 else "none"
        row["note"] = f"{rng.choice(NOTES[said])}, after {rng.integers(2, 900)} hours."
    row["temperature"] = round(45 + 6 * (hidden + rng.standard_normal()), 1)
    row["site"] = str(rng.choice(["north", "south"]))
    if labelled:
        labels = {"fault": fault, "wear": round(wear, 2), "urgent": "yes" if urgent else "no"}
        for task, label in {**labels, "paint": paint}.items():
            row[task] = label if rng.random() > 0.05 else ""
    return row


def _photo(paint: tuple[int, int, int], torn: bool, rng: np.random.Generator) -> Image.Image:
    noise = rng.normal(0, 12, (32, 32, 3))
    image = Image.fromarray(np.clip(200 + noise, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    x, y = (int(v) for v in rng.integers(2, 8, 2))
    draw.rectangle((x, y, x + 20, y + 18), fill=paint)
    for start, end in ((0, 8), (12, 20)) if torn else ((0, 20),):
        draw.line((x + start, y + 9, x + end, y + 9), fill=(20, 20, 20), width=3)
    return image


def _sound(hidden: float, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(RATE // 2) / RATE
    rattle = np.exp(0.5 * (hidden + rng.standard_normal()))
    sound = np.sin(2 * np.pi * rng.uniform(90, 140) * time)
    sound += 0.4 * rattle * rng.standard_normal(len(time))
    return np.asarray(0.2 * sound, dtype=np.float32).clip(-1, 1)


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "machines"))
