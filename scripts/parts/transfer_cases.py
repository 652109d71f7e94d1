"""The data on which transfer between tasks is measured: planted, and real with labels hidden.

``overlapping``: planted arrays, ten tasks; each of 240 rows has each label with probability 1/3, so
about 80 rows a task. ``disjoint``: each of 800 training rows has the label of one task. Both are
held to the noiseless target on 1,000 test rows. ``houses``: the four tasks of that set, pictures at
16 pixels, each training label kept with probability 0.3. ``fsdd``: 480 spoken and written digits
with six tasks that are not computed from one another (digit, speaker, and what the files
themselves measure: duration, loudness, spectral centroid, ink), each training label kept with
probability 1/6.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parts.inputs import drawn_on_train  # scripts/ is where this program lies
from parts.planted_truth import alike, noise_tasks

from gnnfusion import GraphStore, Task, TrainConfig, build, datasets
from gnnfusion.features.load_librosa import load_librosa
from gnnfusion.graphs.views import with_missing

PLANTED: dict[str, dict[str, Any]] = {
    "overlapping": {"label_pattern": "random", "label_missing": 2 / 3, "train": 240, "valid": 240},
    "disjoint": {"label_pattern": "disjoint", "label_missing": 0.9, "train": 800, "valid": 400},
}
EPOCHS = {"overlapping": 40, "disjoint": 20, "houses": 30, "fsdd": 25}
SETTINGS: dict[str, Any] = {"patience": 10, "batch_size": 64, "lr": 4e-3, "refit": False}
WIDTH = 32
FEATURE_NOISE = 2.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """One data set.

    Parameters
    ----------
    store, config
        What is trained, and how.
    sizes
        Least and most tasks of a random group.
    targets
        What test losses are held to instead of labels.
    noise
        Tasks that are no target, bool ``[T]``: pure noise.
    known
        What is known of the truth: name -> ``[T, T]``; ``related`` tasks share a factor.
    """

    store: GraphStore
    config: TrainConfig
    sizes: tuple[int, int]
    targets: dict[str, np.ndarray] = field(default_factory=dict)
    noise: np.ndarray
    known: dict[str, np.ndarray] = field(default_factory=dict)


def planted(regime: str, seed: int, folder: Path) -> Case:
    """Planted arrays."""
    options = {**PLANTED[regime], "test": 1000, "feature_noise": FEATURE_NOISE}
    data = datasets.planted_arrays("planted_v1", seed=seed, **options)
    schema = datasets.load("planted_v1", seed=seed, **options)
    store = build(schema, folder / "store", progress=False)
    return Case(
        store=store,
        config=_config(regime, seed),
        sizes=(3, 7),
        targets={t: data.truth["signal"][t] for t in store.schema.task_names},
        noise=noise_tasks(data.truth, store.schema.task_names),
        known={
            "related": np.array(data.truth["related"], dtype=float),
            "alike": alike(data.truth),
        },
    )


def houses(regime: str, seed: int, folder: Path) -> Case:
    """Houses, at a size that trains in seconds."""
    schema = datasets.load("houses")
    modalities = [
        replace(m, extractor={**m.extractor, "size": 16}) if m.kind == "image" else m
        for m in schema.modalities
    ]
    store = build(replace(schema, modalities=tuple(modalities)), folder / "store", progress=False)
    return _real(store, regime, seed, 0.3)


def fsdd(regime: str, seed: int, folder: Path) -> Case:
    """Digits with what their files measure as further tasks."""
    schema = datasets.load("fsdd_digits")
    root = schema.base
    with (root / schema.table).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    train = [r for r in rows if r["split"] == "train"]
    chosen = np.random.default_rng(seed).choice(len(train), 480, replace=False)
    rows = [train[n] for n in chosen] + [r for r in rows if r["split"] != "train"]
    for row in rows:
        row |= _measured(root / row["audio"], root / row["image"])
        row |= {k: str(root / row[k]) for k in ("audio", "image")}
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    tasks = [t for t in schema.tasks if t.name in ("digit", "speaker")]
    tasks += [Task(name=n, kind="regression") for n in ("duration", "loudness", "centroid", "ink")]
    store = build(replace(schema.with_tasks(tasks), base=folder), folder / "store", progress=False)
    return _real(store, regime, seed, 1 / 6)


CASES: dict[str, Callable[[str, int, Path], Case]] = {
    "overlapping": planted, "disjoint": planted, "houses": houses, "fsdd": fsdd,
}  # fmt: skip


def _real(store: GraphStore, regime: str, seed: int, kept: float) -> Case:
    """A real set whose training labels are kept with a probability, each for itself."""
    tasks = len(store.schema.tasks)
    hidden = drawn_on_train(store, tasks, 1 - kept, torch.Generator().manual_seed(seed))
    return Case(
        store=with_missing(store, hidden),
        config=_config(regime, seed),
        sizes=(2, tasks),
        noise=np.zeros(tasks, dtype=bool),
    )


def _config(regime: str, seed: int) -> TrainConfig:
    own = datasets.defaults("planted_v1")
    return TrainConfig.from_dict({
        **own, **SETTINGS, "epochs": EPOCHS[regime], "seed": seed,
        "network": {**own.get("network", {}), "width": WIDTH},
    })  # fmt: skip


def _measured(audio: Path, image: Path) -> dict[str, Any]:
    """Seconds, level (dB), spectral centroid (octaves above 1 Hz) and ink of a pair of files."""
    from PIL import Image

    librosa = load_librosa()
    wave, rate = librosa.load(audio, sr=None)
    centroid = librosa.feature.spectral_centroid(y=wave, sr=rate, n_fft=512).mean()
    ink = np.asarray(Image.open(image).convert("L"), dtype=float).mean()
    return {
        "duration": len(wave) / rate,
        "loudness": 10 * np.log10((wave**2).mean() + 1e-10),
        "centroid": np.log2(centroid + 1),
        "ink": ink,
    }
