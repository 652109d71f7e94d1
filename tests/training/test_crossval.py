import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import small_config, small_store

from gnnfusion.errors import UsageError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.views import with_split
from gnnfusion.training.crossval import (
    cross_validate,
    fold_splits,
    gathered,
    predictions_of_fold,
)
from gnnfusion.training.evaluate import outputs, scores, scores_of_predictions
from gnnfusion.training.fit import fit

STORE = small_store()


@given(st.integers(2, 5), st.integers(5, 20), st.integers(0, 10**6))
@settings(max_examples=30)
def test_folds_part_the_rows_and_never_cut_a_group(folds, groups, seed):
    group = np.random.default_rng(seed).permutation(np.arange(len(STORE)) % groups)
    rows = STORE.rows("train", "valid")
    held_before = []
    for split in fold_splits(STORE, folds, group, seed=seed):
        held = (split == 1).nonzero().squeeze(1)
        trained = (split == 0).nonzero().squeeze(1)
        assert not set(group[held]) & set(group[trained])
        assert torch.equal(torch.cat([held, trained]).sort().values, rows)
        assert torch.equal(split == 2, STORE.split == 2), "test rows stay where they are"
        held_before.append(held)
    assert len(held_before) == folds
    assert torch.equal(torch.cat(held_before).sort().values, rows), "each row is held out once"


def test_folds_over_all_rows_and_of_one_seed():
    all_rows = list(fold_splits(STORE, 5, over=("train", "valid", "test")))
    assert sum(int((s == 1).sum()) for s in all_rows) == len(STORE)
    again = fold_splits(STORE, 5, over=("train", "valid", "test"))
    assert all(torch.equal(a, b) for a, b in zip(all_rows, again, strict=True))
    other = fold_splits(STORE, 5, over=("train", "valid", "test"), seed=1)
    assert not all(torch.equal(a, b) for a, b in zip(all_rows, other, strict=True))


def test_folds_keep_the_groups_of_the_store():
    group = torch.arange(len(STORE), dtype=torch.int32) // 7
    grouped = GraphStore(STORE.meta, {**STORE.tensors, "split/group": group})
    for split in fold_splits(grouped, 3):
        assert not set(group[split == 0].tolist()) & set(group[split == 1].tolist())


def test_too_few_groups_are_said():
    with pytest.raises(UsageError, match="5 folds need at least as many groups, not 2"):
        list(fold_splits(STORE, 5, np.arange(len(STORE)) % 2))


def test_held_out_rows_choose_nothing():
    """Each fold's score is that of training on its other rows alone for all epochs."""
    config = small_config(epochs=2)
    found = cross_validate(STORE, config, folds=3)
    assert set(found) == {"t0", "t1", "t2"}
    assert all(len(values) == 3 for values in found["t0"].values())
    for place, split in enumerate(fold_splits(STORE, 3)):
        fold = with_split(STORE, split)
        held = fold.rows("valid")
        tensors = dict(fold.tensors)
        # Other labels for the rows held out: what is trained must not notice.
        y = tensors["y/t0"].clone()
        y[held] += 50
        blind = with_split(
            GraphStore(STORE.meta, {**tensors, "y/t0": y}), torch.where(split == 1, 2, split)
        )
        network, keeper = fit(blind, small_config(epochs=2, refit=True), None)
        assert len(keeper.history) == 2
        mine = scores(network, fold, held, outputs(network, fold, held))
        for task, metrics in mine.items():
            for name, value in metrics.items():
                assert found[task][name][place] == value


def test_trainings_of_a_fold_are_those_of_their_seeds_alone():
    configs = [small_config(epochs=1, seed=seed) for seed in (0, 4)]
    both = [predictions_of_fold(STORE, split, configs) for split in fold_splits(STORE, 2)]
    for place, config in enumerate(configs):
        mine = (scores_of_predictions(*held, found[place]) for held, found in both)
        assert gathered(mine) == cross_validate(STORE, config, folds=2)
