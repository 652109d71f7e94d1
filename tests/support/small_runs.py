"""A small store on disk that trains in a second or two, and settings for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from random_stores import make_store

from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.fit import train
from gnnfusion.training.module import FusionModule
from gnnfusion.training.run import Run

SPLIT = np.array([0] * 40 + [1] * 15 + [2] * 15)


def small_store(folder: Path | None = None, tasks=("regression", "binary", "multiclass"), **more):
    """70 samples with gaps, saved and opened if a folder is named."""
    settings = {"samples": len(SPLIT), "split": SPLIT, "missing": 0.2, "unlabelled": 0.2, **more}
    store = make_store(("vector", "tokens"), tasks, **settings)
    if folder is None:
        return store
    store.save(folder)
    return GraphStore.open(folder)


def small_config(**changes) -> TrainConfig:
    """Three epochs of five steps, with dropout and evidence on."""
    network = NetworkConfig(width=8, layers=2, heads=2, dropout=0.2)
    values = {"network": network, "epochs": 3, "batch_size": 8, "device": "cpu", **changes}
    return TrainConfig(**values)


def broken_off(store, folder, config, monkeypatch, place=(2, 2)) -> Run:
    """A run that is interrupted in a step (epoch, number of the batch) and called again."""
    step = FusionModule.training_step

    def dying(self, batch, index):
        if (self.current_epoch, index) == place:
            raise KeyboardInterrupt
        return step(self, batch, index)

    with monkeypatch.context() as m:
        m.setattr(FusionModule, "training_step", dying)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(store, folder, config, logs=False)
    return train(store, folder, config, logs=False)


def learnable(**settings) -> GraphStore:
    """A small store with much missing and targets that can be learned."""
    return followed(small_store(missing=0.3, unlabelled=0.5, most=1, **settings))


def followed(store: GraphStore) -> GraphStore:
    """The store with targets that follow from the first modality, where it is there."""
    ptr = store.nodes("m0").ptr
    x = torch.zeros(len(store))
    x[ptr.diff() > 0] = store.nodes("m0").x[:, 0]
    tensors = {
        **store.tensors,
        "y/t0": x.unsqueeze(1).to(store.target("t0").dtype),
        "y/t1": (x > 0).to(store.target("t1").dtype),
        "y/t2": (x > -0.5).to(store.target("t2").dtype) + (x > 0.5),
    }
    return GraphStore(store.meta, tensors)
