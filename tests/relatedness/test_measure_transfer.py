"""Transfer gains by training: what is compared differs by labels alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import small_config, small_store

from gnnfusion.errors import DataError, UsageError
from gnnfusion.graphs.arrays import store_from_arrays
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.views import with_split
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.relatedness import transfer_training
from gnnfusion.relatedness.estimators.transfer import measure_transfer, sample_groups
from gnnfusion.relatedness.relate import relate
from gnnfusion.relatedness.transfer import Transfer
from gnnfusion.schema import Modality, Schema, Task
from gnnfusion.training.compare.data import on_disk
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.evaluate import loss_table
from gnnfusion.training.fit import fit, train

CONFIG = small_config(epochs=1)


@pytest.fixture(scope="module")
def store():
    return small_store()


@pytest.fixture(scope="module")
def measured(store, tmp_path_factory):
    folder, said = tmp_path_factory.mktemp("transfer"), []
    transfer = measure_transfer(
        store, CONFIG, folder, seeds=2, say=lambda line, done, total: said.append((line, done))
    )
    return transfer, folder, said


def test_losses_are_those_of_a_training_on_the_tasks(store, measured):
    transfer, *_ = measured
    assert transfer.groups == (("t0", "t1"), ("t0", "t2"), ("t1", "t2"))
    config = replace(CONFIG, seed=1, evidence=0.0)
    for tasks, losses in [
        (("t2",), {"test": transfer.alone["test"][1], "valid": transfer.alone["valid"][1]}),
        (("t0", "t2"), {"test": transfer.together["test"][1, 1]}),
    ]:
        network, _ = fit(store, config, None, tasks=tasks)
        for split, found in losses.items():
            expected = np.nanmean(loss_table(network, store, store.rows(split)), axis=0)
            for task in tasks:
                place = store.schema.task_names.index(task)
                assert found[place] == pytest.approx(expected[place], rel=1e-6)
    np.testing.assert_array_equal(np.isfinite(transfer.gains()), transfer.members)


def test_what_there_is_to_do_is_said_first_and_the_time_after_the_first(measured):
    _, folder, said = measured
    assert len(list(folder.glob("*.json"))) == 12
    lines = [line for line, _ in said]
    assert lines[0] == "12 trainings, 12 to do"
    assert lines[1].startswith("t0 (seed 0): 1 epochs in")
    assert lines[2].startswith("11 trainings will take about")
    assert [done for _, done in said][-1] == 12


def test_what_is_finished_is_not_trained_again(store, measured, monkeypatch):
    transfer, folder, _ = measured
    trained, train = [], transfer_training.run_training
    monkeypatch.setattr(
        transfer_training, "run_training", lambda *a: trained.append(a[1]) or train(*a)
    )
    sorted(folder.glob("*.json"))[3].unlink()
    said = []
    again = measure_transfer(store, CONFIG, folder, seeds=2, say=lambda line, *_: said.append(line))
    assert len(trained) == 1
    assert said[0] == "12 trainings, 1 to do"
    for split in ("valid", "test"):
        np.testing.assert_array_equal(again.per_seed(split), transfer.per_seed(split))
    more = measure_transfer(store, CONFIG, folder, seeds=3, groups=[("t2", "t1")])
    assert len(trained) == 1 + 4  # three alone and one pair of the third seed
    losses = [found.together["test"] for found in (more, transfer)]
    np.testing.assert_array_equal(losses[0][:2, 0, 1:], losses[1][:, 2, 1:])


def test_other_labels_are_other_trainings(store, measured):
    _, folder, _ = measured
    changed = {**store.tensors, "y/t1": 1 - store.target("t1")}
    before = len(list(folder.glob("*.json")))
    measure_transfer(
        GraphStore(store.meta, changed), CONFIG, folder, seeds=1, groups=[("t0", "t1")]
    )
    assert len(list(folder.glob("*.json"))) == before + 4


def test_processes_find_the_same(store, tmp_path, measured):
    """Of a view, too, whose labels are not those in its folder."""
    store.save(tmp_path / "store")
    opened = GraphStore.open(tmp_path / "store")
    less = GraphStore(opened.meta, {**opened.tensors, "mask/t0": opened.tensors["mask/t1"]},
                      opened.path)  # fmt: skip
    settings = {"seeds": 1, "groups": [("t0", "t1")]}
    here = measure_transfer(less, CONFIG, tmp_path / "here", **settings)
    there = measure_transfer(less, CONFIG, tmp_path / "there", jobs=2, **settings)
    np.testing.assert_allclose(here.per_seed(), there.per_seed(), rtol=1e-6)
    assert not np.allclose(here.alone["test"], measured[0].alone["test"][:1])
    assert len(list((tmp_path / "there").glob("store-*"))) == 1
    assert on_disk(opened, tmp_path) == tmp_path / "store"


def test_a_task_of_weight_zero_helps_no_other_to_the_bit(store, tmp_path):
    """Compared trainings begin alike and see the same rows and dropout."""
    tasks = [replace(t, weight=float(t.name != "t1")) for t in store.schema.tasks]
    meta = {**store.meta, "schema": store.schema.with_tasks(tasks).to_dict()}
    config = small_config(epochs=2, refit=True, modality_dropout=0.3)
    found = measure_transfer(
        GraphStore(meta, store.tensors), config, tmp_path, seeds=1, groups=[("t0", "t1", "t2"),
        ("t0", "t1"), ("t0", "t2")],
    )  # fmt: skip
    assert found.per_seed()[0, 1, 0] == 0
    np.testing.assert_array_equal(found.per_seed()[0, 0, [0, 2]], found.per_seed()[0, 2, [0, 2]])
    assert found.per_seed()[0, 2, 0] != 0
    assert list(found.alone) == ["test"]  # validation rows were trained on


def test_test_losses_can_be_taken_against_other_targets(store, tmp_path, measured):
    """On planted data against the noiseless target; training and validation keep the labels."""
    clean = torch.randn(len(store), generator=torch.Generator().manual_seed(0)).numpy()
    found = measure_transfer(
        store, CONFIG, tmp_path, seeds=1, groups=[("t0", "t1")], targets={"t0": clean}
    )
    plain = measured[0]
    np.testing.assert_array_equal(found.alone["valid"], plain.alone["valid"][:1])
    np.testing.assert_array_equal(found.alone["test"][:, 1:], plain.alone["test"][:1, 1:])
    network, _ = fit(store, replace(CONFIG, evidence=0.0), None, tasks=("t0",))
    rows = store.rows("test")
    view = GraphStore(store.meta, {
        **store.tensors, "y/t0": torch.as_tensor(clean)[:, None],
        "mask/t0": torch.ones(len(store), dtype=torch.uint8),
    })  # fmt: skip
    assert found.alone["test"][0, 0] == pytest.approx(loss_table(network, view, rows)[:, 0].mean())


def test_a_task_with_few_labels_gains_from_its_copy_and_not_from_noise(tmp_path):
    rng = np.random.default_rng(0)
    z, count = rng.normal(size=420), 420
    schema = Schema(
        modalities=(Modality(name="m", kind="array", columns=("c",)),),
        tasks=tuple(Task(name=f"t{i}", kind="regression") for i in range(3)),
    )
    x = (z[:, None] * rng.normal(size=12) + 2 * rng.normal(size=(count, 12)))[:, None]
    y = {"t0": z.copy(), "t1": z.copy(), "t2": rng.normal(size=count)}
    split = np.array([0] * 180 + [1] * 120 + [2] * 120)
    y["t0"][15:180] = np.nan
    store = store_from_arrays(schema, {"m": x.astype(np.float32)}, y, split=split)
    config = TrainConfig(
        network=NetworkConfig(width=16, heads=2, layers=1, fusion="concat"), epochs=15, lr=5e-3,
        device="cpu",
    )  # fmt: skip
    found = measure_transfer(store, config, tmp_path, seeds=2, groups=[("t0", "t1"), ("t0", "t2")])
    copy, noise = found.per_seed()[:, :, 0].T
    assert copy.min() > 0.05
    assert noise.max() < copy.min()


def test_a_run_is_related_by_transfer_under_its_own_settings(tmp_path):
    """But that nothing is shown, and that all tasks share a network, whatever the run's groups."""
    store = small_store(tmp_path / "store")
    network = NetworkConfig(width=8, heads=2, groups=(("t0", "t1"),))
    run = train(store, tmp_path / "run", small_config(epochs=1, network=network), logs=False)
    graph = relate(run, "transfer", seeds=2, jobs=1, subsets=1, device="cpu")
    assert (graph.method, graph.question) == ("transfer", "training with i helps j")
    kept = Transfer.from_json(run.path / "transfer.json")
    assert (len(kept.groups), kept.seeds) == (1, (0, 1))
    np.testing.assert_array_equal(kept.graph().value, graph.value)
    config = replace(run.config, evidence=0.0, network=replace(network, groups=()))
    alone, _ = fit(store, config, None, tasks=("t1",))
    losses = loss_table(alone, store, store.rows("test"))[:, 1]
    assert kept.alone["test"][0, 1] == pytest.approx(np.nanmean(losses))


def test_sampled_groups_differ_and_have_the_sizes_asked_for():
    tasks = tuple("abcdef")
    found = sample_groups(tasks, 20, least=3, most=4, seed=1)
    assert len(set(found)) == 20
    assert {len(g) for g in found} == {3, 4}
    assert all(list(g) == sorted(g) for g in found)
    assert found == sample_groups(tasks, 20, least=3, most=4, seed=1)
    assert len(sample_groups(tasks, 15, most=2)) == 15
    with pytest.raises(UsageError, match="6 tasks have 15 groups of these sizes, not 16"):
        sample_groups(tasks, 16, most=2)
    with pytest.raises(UsageError, match="20 tasks have 190 groups of these sizes, not 191"):
        sample_groups(tuple("abcdefghijklmnopqrst"), 191, most=2)


def test_what_cannot_be_measured_is_said_before_anything_is_trained(store, tmp_path):
    def said(error, words, store=store, config=CONFIG, **settings):
        with pytest.raises(error, match=words):
            measure_transfer(store, config, tmp_path / "none", **settings)
        assert not (tmp_path / "none").exists()

    said(UsageError, "seeds and jobs must be at least 1", seeds=0)
    said(UsageError, "a group names 'x', which is no task", groups=[("t0", "x")])
    said(UsageError, "a group needs two tasks at least", groups=[("t0",)])
    said(UsageError, "there is no group to train", groups=[])
    said(UsageError, "targets name 'x', which is no task", targets={"x": np.zeros(70)})
    said(UsageError, "the targets of 't0' must be as many", targets={"t0": np.zeros(7)})
    network = NetworkConfig(width=8, heads=2, sharing="single")
    said(UsageError, "tasks share nothing", config=small_config(network=network))
    said(UsageError, "at least two tasks", store=small_store(tasks=("binary",)))
    gone = torch.zeros(len(store), dtype=torch.uint8)
    gone[:40] = 1
    less = GraphStore(store.meta, {**store.tensors, "mask/t1": store.tensors["mask/t1"] * gone})
    said(DataError, "task 't1' has no label in valid, so it cannot be trained alone", store=less)
    alone = with_split(store, torch.zeros(70))
    said(DataError, "no row is held out to measure gains on", store=alone)
