"""The score that studies report of one training."""

from __future__ import annotations

import numpy as np

from gnnfusion import GraphStore, TrainConfig
from gnnfusion.training.evaluate import loss_table
from gnnfusion.training.fit import fit
from gnnfusion.training.objective import constant_losses


def score_on_test(store: GraphStore, config: TrainConfig) -> float:
    """Mean over tasks of the test loss, nothing known, over that of the training mean."""
    network, _ = fit(store, config, None)
    train, test = store.rows("train", *(["valid"] if config.refit else [])), store.rows("test")
    found = np.nanmean(loss_table(network, store, test), axis=0)
    return float(np.mean(found / constant_losses(network, store, train, test).numpy()))
