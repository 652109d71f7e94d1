"""A small table with real pictures, every kind of task, gaps, context and a derived task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gnnfusion.graphs.build import build
from gnnfusion.graphs.store import GraphStore
from gnnfusion.schema import Context, Modality, Schema, Split, Task

CLASSES = {"binary": ("no", "yes"), "mood": ("calm", "glad", "sad"), "grade": ("1", "2", "3")}


def make_table(folder: Path, n: int = 60, seed: int = 0) -> pd.DataFrame:
    """Pictures, words and columns; every cell but the id may be missing."""
    rng = np.random.default_rng(seed)
    (folder / "pic").mkdir()
    for i in range(n):
        data = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(data).save(folder / f"pic/{i}.png")
    frame = pd.DataFrame(
        {
            "id": [f"r{i}" for i in range(n)],
            "fold": ["train"] * 30 + ["valid"] * 10 + ["test"] * (n - 40),
            "film": rng.integers(0, 4, n),
            "place": np.arange(n),
            "picture": [f"pic/{i}.png" for i in range(n)],
            "words": rng.choice(["good film", "bad film", "no film at all"], n),
            "age": rng.integers(20, 60, n),
            **{name: rng.choice(values, n) for name, values in CLASSES.items()},
            "x": rng.normal(size=n),
            "y": 100 + 10 * rng.normal(size=n),
            "tag_a": rng.integers(0, 2, n),
            "tag_b": rng.integers(0, 2, n),
        }
    )
    frame["score"] = frame["x"] + frame["y"]
    for name in ("picture", "words", "age", *CLASSES, "x", "tag_a", "score"):
        frame[name] = frame[name].astype(object).where(rng.random(n) > 0.2, None)
    frame.to_csv(folder / "t.csv", index=False)
    return frame


SCHEMA: dict[str, Any] = {
    "table": "t.csv",
    "id": "id",
    "modalities": (
        Modality(name="picture", kind="image", columns="picture", extractor={"size": 6}),
        Modality(name="words", kind="text", columns="words"),
        Modality(name="person", kind="tabular", columns="age"),
    ),
    "tasks": (
        Task(name="binary", kind="binary"),
        Task(name="mood", kind="multiclass"),
        Task(name="grade", kind="ordinal"),
        Task(name="point", kind="regression", columns=("x", "y")),
        Task(name="tags", kind="multilabel", columns=("tag_a", "tag_b")),
        Task(name="score", kind="regression", derived_from="point"),
    ),
    "split": Split(column="fold"),
    "context": Context(group="film", order="place"),
}


@contextmanager
def built(folder: Path) -> Iterator[tuple[pd.DataFrame, GraphStore]]:
    """The table and the store built from it, with a cache of its own as long as it is used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNNFUSION_CACHE", str(folder / "cache"))
        frame = make_table(folder)
        schema = Schema(**SCHEMA, base=folder)
        yield frame, build(schema, folder / "store", progress=False, workers=1)
