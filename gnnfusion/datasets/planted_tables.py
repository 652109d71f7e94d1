"""``planted_v1``: planted arrays as files, row-aligned ``.npy`` beside a table of labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from gnnfusion.datasets.planted import PlantedArrays, planted_arrays
from gnnfusion.schema import SPLITS, Modality, Schema, Split, Task

RAW = None
VERSION = 1


def prepare(
    folder: Path,
    raw: Path | None,
    seed: int = 0,
    train: int = 300,
    valid: int = 0,
    test: int = 300,
    feature_noise: float = 2.0,
    label_noise: float = 0.5,
    label_missing: float = 0.0,
    label_pattern: str = "random",
    modality_missing: float = 0.0,
    modality_pattern: str = "random",
    hard: bool = False,
) -> None:
    """Write ``table.csv``, an array per modality, ``truth.json`` and the schema.

    See `gnnfusion.datasets.planted.PlantedSpec` for the options.
    """
    data = planted_arrays(
        "planted_v1", seed,
        train=train, valid=valid, test=test,
        feature_noise=feature_noise, label_noise=label_noise,
        label_missing=label_missing, label_pattern=label_pattern,
        modality_missing=modality_missing, modality_pattern=modality_pattern, hard=hard,
    )  # fmt: skip
    write_arrays(data, folder)


def write_arrays(data: PlantedArrays, folder: Path) -> Schema:
    """Write any planted arrays as a table with row-aligned arrays; returns the schema."""
    for name, x in data.x.items():
        # A row of only NaN is how a row-aligned array says that the row lacks the modality.
        gaps = np.where(data.present[name][:, None, None], x, np.float32(np.nan))
        np.save(folder / f"{name}.npy", gaps)
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "split", *data.tasks])
        for row in range(len(data)):
            labels = [float(data.y[t][row]) if data.mask[t][row] else "" for t in data.tasks]
            writer.writerow([f"r{row:05d}", SPLITS[data.split[row]], *labels])
    (folder / "truth.json").write_text(json.dumps(truth_json(data)) + "\n", encoding="utf-8")
    schema = Schema(
        table="table.csv",
        id="id",
        modalities=tuple(
            Modality(name=m, kind="array", extractor={"file": f"{m}.npy"}) for m in data.modalities
        ),
        tasks=tuple(Task(name=t, kind="regression") for t in data.tasks),
        split=Split(column="split"),
        base=folder,
    )
    schema.to_yaml(folder / "schema.yaml")
    return schema


def truth_json(data: PlantedArrays) -> dict[str, Any]:
    """The truth as plain values; matrices by the order of ``tasks`` and ``modalities``."""
    truth = data.truth
    return {
        "tasks": list(data.tasks),
        "modalities": list(data.modalities),
        "related": truth["related"].tolist(),
        "modality_task": truth["modality_task"].tolist(),
        "label_correlation": truth["label_correlation"].tolist(),
        "loadings": truth["loadings"].tolist(),
        "duplicates": [list(p) for p in truth["duplicates"]],
        "negations": [list(p) for p in truth["negations"]],
        "hard_pairs": [list(p) for p in truth["hard_pairs"]],
        "noise_tasks": truth["noise_tasks"],
        "signal": {t: [float(v) for v in s] for t, s in truth["signal"].items()},
    }
