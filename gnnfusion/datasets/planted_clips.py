"""``planted``: raw clips (video, sound, a sentence, sensors) with a known truth; the demo's data.

Nine independent standard normal factors make a clip; `SHOWS` and `USES` say which modality shows
which factor and which task is a function of which.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from gnnfusion.datasets.planted_media import (
    LOOKS,
    Thing,
    draw,
    sentence,
    sound,
    write_sound,
    write_video,
)
from gnnfusion.errors import UsageError

RAW = None
VERSION = 2

FACTORS = (
    "timbre", "energy", "look", "motion", "across", "down", "size", "valence", "heat",
)  # fmt: skip

SHOWS = {
    "frames": ("look", "motion", "across", "down", "size"),
    "audio": ("timbre", "energy", "motion"),
    "text": ("valence", "energy", "across", "down"),
    "sensors": ("across", "down", "energy", "heat", "timbre"),
}
"""Modality -> factors it shows. ``motion`` is heard because fast things are louder."""

USES = {
    "event": ("timbre", "look"),
    "box": ("across", "down", "size"),
    "loudness": ("energy", "motion"),
    "speed": ("motion",),
    "alarm": ("timbre", "energy"),
    "mood": ("valence",),
}
"""Task -> factors it is a function of. ``box`` and ``mood`` are related to no other task."""

COLUMNS = {
    "event": ("event",), "box": ("x0", "y0", "x1", "y1"), "loudness": ("loudness",),
    "speed": ("speed",), "alarm": ("alarm",), "mood": ("mood",),
}  # fmt: skip
SOUNDS = ("tone", "noise")
SENSORS = ("bearing", "tilt", "vibration", "temperature", "site")
_SITES = ("north", "south", "east", "west")


def prepare(
    folder: Path,
    raw: Path | None,
    rows: int = 600,
    seed: int = 0,
    missing_modalities: float = 0.1,
    missing_labels: float = 0.15,
    label_noise: float = 0.3,
) -> None:
    """Write ``table.csv``, ``frames/*.mp4``, ``audio/*.wav`` and ``truth.json``.

    Parameters
    ----------
    rows
        Number of clips.
    seed
        The same arguments give the same bytes.
    missing_modalities
        Share of rows that lack a modality, for each modality; no row lacks all.
    missing_labels
        Share of labels that are missing, for each task.
    label_noise
        In standard deviations of the signal; for loudness, speed, alarm and mood.
    """
    if rows < 20 or not (0 <= missing_modalities < 1 and 0 <= missing_labels < 1):
        raise UsageError("planted clips need at least 20 rows, and missing shares in [0, 1)")
    (folder / "frames").mkdir()
    (folder / "audio").mkdir()
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    z = rng.standard_normal((rows, len(FACTORS)))
    noise = label_noise * rng.standard_normal((rows, 4))
    absent = _absent(rng, rows, missing_modalities)
    unlabelled = rng.random((rows, len(USES))) < missing_labels
    splits = _splits(rng, rows)

    records = []
    for row in range(rows):
        clip = _clip(dict(zip(FACTORS, z[row], strict=True)), noise[row], seed, row)
        name = f"c{row:05d}"
        record: dict[str, Any] = {"id": name, "split": splits[row], **clip["labels"]}
        for gap, columns in zip(unlabelled[row], COLUMNS.values(), strict=True):
            if gap:
                record.update(dict.fromkeys(columns, ""))
        gone = dict(zip(SHOWS, absent[row], strict=True))
        record["frames"] = "" if gone["frames"] else f"frames/{name}.mp4"
        record["audio"] = "" if gone["audio"] else f"audio/{name}.wav"
        record["text"] = "" if gone["text"] else clip["text"]
        record.update(dict.fromkeys(SENSORS, "") if gone["sensors"] else clip["sensors"])
        if record["frames"]:
            write_video(clip["frames"], folder / record["frames"])
        if record["audio"]:
            write_sound(clip["sound"], folder / record["audio"])
        records.append(record)

    labels = [column for columns in COLUMNS.values() for column in columns]
    header = ["id", "split", "frames", "audio", "text", *SENSORS, *labels]
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(records)
    (folder / "truth.json").write_text(json.dumps(truth(), indent=1) + "\n", encoding="utf-8")


def truth() -> dict[str, Any]:
    """Which tasks share a factor, and which modality shows a factor of which task."""
    tasks, modalities = list(USES), list(SHOWS)
    return {
        "tasks": tasks,
        "modalities": modalities,
        "related": [[a != b and bool({*USES[a]} & {*USES[b]}) for b in tasks] for a in tasks],
        "modality_task": [[bool({*SHOWS[m]} & {*USES[t]}) for t in tasks] for m in modalities],
        "uses": {t: list(f) for t, f in USES.items()},
        "shows": {m: list(f) for m, f in SHOWS.items()},
    }


def _clip(z: dict[str, float], noise: np.ndarray, seed: int, row: int) -> dict[str, Any]:
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1, row]))
    look = int(np.digitize(z["look"], (-0.43, 0.43)))
    noisy = bool(z["timbre"] > 0)
    width = 0.26 + 0.05 * float(np.clip(z["size"], -2, 2))
    height = width * rng.uniform(0.8, 1.25)
    loud = 0.8 * z["energy"] + 0.6 * z["motion"]
    thing = Thing(
        look=look,
        x=_place(z["across"], width),
        y=_place(z["down"], height),
        width=width,
        height=height,
        speed=0.08 + 0.5 * float(_logistic(1.5 * z["motion"])),
        angle=rng.uniform(0, 2 * np.pi),
    )
    things = [thing]
    if rng.random() < 0.25:
        # A small still decoy of another look: which of the two moves is seen over frames only.
        side = rng.uniform(0.1, 0.14)
        other = (look + int(rng.integers(1, 3))) % 3
        x, y = rng.uniform(0.1, 0.9, 2)
        things.insert(0, Thing(other, x, y, side, side))
    alarm = (z["timbre"] + z["energy"]) / np.sqrt(2) + noise[2] > 0
    mood = int(np.digitize(z["valence"] + noise[3], (-0.5, 0.5)))
    box = dict(zip(COLUMNS["box"], (round(v, 4) for v in thing.box), strict=True))
    return {
        "frames": draw(things, contrast=rng.uniform(0.5, 1.0), rng=rng),
        "sound": sound(
            noisy,
            pitch=220 * 2 ** (rng.uniform(0, 2)),
            decibel=-20 + 6 * float(np.clip(loud, -3, 3)),
            tempo=4 + 1.2 * float(np.clip(z["energy"], -2, 2)),
            rng=rng,
        ),
        "text": sentence(z["valence"], z["energy"], thing.x, thing.y, rng),
        "sensors": _sensors(z, rng),
        "labels": {
            "event": f"{LOOKS[look]}_{SOUNDS[noisy]}",
            **box,
            "loudness": round(-20 + 6 * float(loud + noise[0]), 3),
            "speed": round(float(z["motion"] + noise[1]), 4),
            "alarm": int(alarm),
            "mood": ("low", "neutral", "high")[mood],
        },
    }


def _sensors(z: dict[str, float], rng: np.random.Generator) -> dict[str, Any]:
    """Noisy readings; some are missing one by one. The site tells a little about the timbre."""
    e = rng.standard_normal(4)
    site = (2 if z["timbre"] + 1.5 * rng.standard_normal() > 0 else 0) + int(rng.integers(2))
    readings: dict[str, Any] = {
        "bearing": round(30 * (z["across"] + 0.7 * e[0]), 2),
        "tilt": round(15 * (z["down"] + 0.7 * e[1]), 2),
        "vibration": round(float(np.exp(0.5 * (z["energy"] + e[2]))), 4),
        "temperature": round(20 + 5 * (z["heat"] + 0.3 * e[3]), 2),
        "site": _SITES[site],
    }
    lost = rng.random(len(readings)) < 0.05
    return {name: "" if gap else v for (name, v), gap in zip(readings.items(), lost, strict=True)}


def _place(z: float, width: float) -> float:
    """Centre so that the object lies within the frame."""
    return width / 2 + (1 - width) * float(_logistic(1.5 * z))


def _logistic(v: float) -> float:
    return 1 / (1 + float(np.exp(-v)))


def _absent(rng: np.random.Generator, rows: int, share: float) -> np.ndarray:
    absent = rng.random((rows, len(SHOWS))) < share
    kept = rng.integers(len(SHOWS), size=rows)
    alone = absent.all(axis=1)
    absent[alone, kept[alone]] = False
    return absent


def _splits(rng: np.random.Generator, rows: int) -> list[str]:
    """70 % train, 15 % valid, 15 % test."""
    held = round(0.15 * rows)
    names = np.repeat(["train", "valid", "test"], [rows - 2 * held, held, held])
    return [str(s) for s in rng.permutation(names)]
