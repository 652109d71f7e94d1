"""Cross-validation over train + valid, to choose settings before a refit; test is never touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gnnfusion.errors import UsageError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.views import with_split
from gnnfusion.schema import SPLITS
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.evaluate import (
    Prediction,
    outputs,
    predictions_by_task,
    scores_of_predictions,
)
from gnnfusion.training.fit import fit


def fold_splits(
    store: GraphStore,
    folds: int,
    groups: np.ndarray | Tensor | None = None,
    *,
    over: tuple[str, ...] = ("train", "valid"),
    seed: int = 0,
) -> Iterator[Tensor]:
    """Splits ``[S]`` in which each fold of the rows in `over` is, in turn, held out as ``valid``.

    Parameters
    ----------
    store
        Samples.
    folds
        How many; with `groups`, at most as many as there are groups.
    groups
        ``[S]``; a group is never cut. By default those of the store; without any, each row is
        its own.
    over
        Splits that take part; all other rows keep their split.
    seed
        Of the shuffle.
    """
    from sklearn.model_selection import GroupKFold

    rows = store.rows(*over).numpy()
    groups = store.groups if groups is None else groups
    group = rows if groups is None else np.asarray(groups)[rows]
    if len(np.unique(group)) < folds:
        raise UsageError(f"{folds} folds need at least as many groups, not {len(np.unique(group))}")
    splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    for _, held in splitter.split(rows, groups=group):
        split = store.split.clone()
        split[rows] = SPLITS.index("train")
        split[rows[held]] = SPLITS.index("valid")
        yield split


def cross_validate(
    store: GraphStore,
    config: TrainConfig,
    folds: int = 5,
    groups: np.ndarray | Tensor | None = None,
    *,
    over: tuple[str, ...] = ("train", "valid"),
    seed: int = 0,
) -> dict[str, dict[str, list[float]]]:
    """Scores of settings on held-out folds.

    Each fold is trained for exactly `config.epochs` epochs, as a refit will be: the held-out rows
    choose nothing but the settings. Statistics of the network are fitted to the fold's training
    rows; extractors (vocabularies, categories) were fitted to the store's.

    Returns
    -------
    dict
        ``task -> metric -> [one number a fold]``.
    """
    splits = fold_splits(store, folds, groups, over=over, seed=seed)
    return gathered(
        scores_of_predictions(*held, predicted)
        for held, (predicted,) in (predictions_of_fold(store, split, [config]) for split in splits)
    )


def predictions_of_fold(
    store: GraphStore, split: Tensor, configs: Sequence[TrainConfig]
) -> tuple[tuple[GraphStore, Tensor], list[dict[str, Prediction]]]:
    """What networks trained on the other rows predict for the held-out rows of a fold.

    Parameters
    ----------
    store, split
        Samples, and a split of `fold_splits`.
    configs
        Settings of one training each.

    Returns
    -------
    tuple
        The store of this fold with its held-out rows, and of each training task -> predictions of
        these rows.
    """
    fold = with_split(store, split)
    held = fold.rows("valid")
    # Refitting trains on train + valid; here the held-out rows must stay out.
    inner = with_split(store, torch.where(split == SPLITS.index("valid"), 2, split))
    found = []
    for config in configs:
        network, _ = fit(inner, replace(config, refit=True), None)
        found.append(predictions_by_task(network, fold, outputs(network, fold, held)))
    return (fold, held), found


def gathered(
    found: Iterable[dict[str, dict[str, float]]],
) -> dict[str, dict[str, list[float]]]:
    """``task -> metric -> numbers`` of several ``task -> metric -> number``."""
    result: dict[str, dict[str, list[float]]] = {}
    for scores in found:
        for task, metrics in scores.items():
            for name, value in metrics.items():
                result.setdefault(task, {}).setdefault(name, []).append(value)
    return result
