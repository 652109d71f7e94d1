"""Data that several studies read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gnnfusion import GraphStore, Modality, Schema, Task, datasets
from gnnfusion.datasets.planted import PlantedArrays
from gnnfusion.errors import UsageError
from gnnfusion.graphs.arrays import store_from_arrays


def load_frozen(name: str, **options: Any) -> Schema:
    """A data set's schema; MOSI's without the text model that is trained further, which takes
    minutes where the rest takes seconds."""
    return datasets.load(name, **({"tune": False} if name == "mosi" else {}), **options)


def reading(schema: Schema, modalities: Collection[str]) -> Schema:
    """The same samples and tasks, and of their modalities only these; a `UsageError` if one is
    none of theirs."""
    _check_modalities(schema, modalities)
    return replace(schema, modalities=tuple(m for m in schema.modalities if m.name in modalities))


def with_encoder(schema: Schema, modalities: Collection[str], name: str, value: Any) -> Schema:
    """The schema with one setting of the encoders of these modalities changed; likewise."""
    _check_modalities(schema, modalities)
    changed = tuple(
        replace(m, encoder={**m.encoder, name: value}) if m.name in modalities else m
        for m in schema.modalities
    )
    return replace(schema, modalities=changed)


def _check_modalities(schema: Schema, names: Collection[str]) -> None:
    for name in names:
        if name not in schema.modality_names:
            known = ", ".join(schema.modality_names)
            raise UsageError(f"there is no modality {name!r}; use {known}")


def with_value(config: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Plain settings with one changed; ``network.width`` and the like name one of the network."""
    place, _, inner = name.partition(".")
    return {**config, place: {**config.get(place, {}), inner: value} if inner else value}


def planted_store(data: PlantedArrays, encoder: Mapping[str, Any] | None = None) -> GraphStore:
    """Planted arrays as a store in memory: what building their files gives, without the files.

    `encoder` are settings of every modality's encoder.
    """
    schema = Schema(
        modalities=tuple(
            Modality(name=m, kind="array", columns=(m,), encoder=dict(encoder or {}))
            for m in data.x
        ),
        tasks=tuple(Task(name=t, kind="regression") for t in data.y),
    )
    nodes = {}
    for m, x in data.x.items():
        known = x[data.present[m] & (data.split == 0)]
        scaled = ((x - known.mean((0, 1))) / known.std((0, 1))).astype(np.float32)
        nodes[m] = [v if there else v[:0] for v, there in zip(scaled, data.present[m], strict=True)]
    targets = {t: np.where(data.mask[t], y, np.nan) for t, y in data.y.items()}
    return store_from_arrays(schema, nodes, targets, split=data.split)


def drawn_on_train(
    store: GraphStore, columns: int, share: float, draw: torch.Generator
) -> torch.Tensor:
    """Marks on training rows alone, each with this probability, bool ``[S, columns]``."""
    train = (store.split == 0).unsqueeze(1)
    return (torch.rand(len(store), columns, generator=draw) < share) & train
