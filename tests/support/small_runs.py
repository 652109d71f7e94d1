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
from gnnfusion.training.evaluate import outputs
from gnnfusion.training.fit import train
from gnnfusion.training.module import FusionModule
from gnnfusion.training.objective import constant_losses, sample_losses
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


class WatchedSteps:
    """What the gradients of every training step from here on are: finite, or the test fails."""

    def __init__(self, monkeypatch) -> None:
        self.stalled: list[bool] = []  # by step: nothing has a gradient
        self.reached: dict[str, bool] = {}  # by parameter: it ever had one
        monkeypatch.setattr(
            FusionModule, "on_before_optimizer_step", lambda module, _: self.look(module.network)
        )

    def look(self, network) -> None:
        self.stalled.append(True)
        for name, parameter in network.named_parameters():
            if parameter.grad is not None:
                assert parameter.grad.isfinite().all(), name
                there = bool(parameter.grad.any())
                self.reached[name] = self.reached.get(name, False) or there
                self.stalled[-1] &= not there


def same_when_broken_off(folder, config, monkeypatch) -> Run:
    """The unbroken run; one that was broken off must end with the same bytes."""
    store = small_store(folder / "store")
    whole = train(store, folder / "whole", config, logs=False)
    broken = broken_off(store, folder / "broken", config, monkeypatch)
    a, b = ((r.path / "model.safetensors").read_bytes() for r in (whole, broken))
    assert a == b
    return whole


def valid_score(network, store) -> float:
    """Mean over tasks of the validation loss over that of the training mean, task by task."""
    rows = store.rows("valid")
    yardstick = constant_losses(network, store, store.rows("train"), rows)
    found, ratios = outputs(network, store, rows), []
    for place, task in enumerate(store.schema.task_names):
        known = store.mask(task)[rows]
        each = sample_losses(
            network.head(task), found[task][known], store.target(task)[rows][known]
        )
        ratios.append(float(each.mean() / yardstick[place]))
    return sum(ratios) / len(ratios)


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
