import csv
import json
import math
import signal
import subprocess
import sys

import pytest
import torch
import yaml
from small_runs import SPLIT, small_config, small_store, valid_score

from gnnfusion.errors import DataError, RunError, UsageError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.views import with_missing, with_split
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.network import network_for
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.evaluate import outputs
from gnnfusion.training.fit import fit, train
from gnnfusion.training.module import FusionModule
from gnnfusion.training.run import Run


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    return train(store, tmp_path_factory.mktemp("run") / "run", small_config())


def history(folder):
    with (folder / "history.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_a_run_folder_is_complete(run, store):
    names = {p.name for p in run.path.iterdir()}
    assert names == {
        "config.yaml", "schema.yaml", "features.json", "model.safetensors", "metrics.json",
        "history.csv", "README.md", "logs",
    }  # fmt: skip
    assert run.schema == store.schema
    assert run.config == small_config()
    assert run.store().ids() == store.ids()
    assert len(run.history) == 3
    metrics = run.metrics
    assert metrics["seed"] == 0
    assert metrics["parameters"] == sum(p.numel() for p in run.network().parameters())
    assert set(metrics["split"]) == set(metrics["split_given_others"]) == {"valid", "test"}
    assert set(metrics["split"]["test"]) == {"t0", "t1", "t2"}
    assert {"mae", "rmse"} <= set(metrics["split"]["test"]["t0"])


def test_the_loaded_run_scores_what_was_written(run):
    found = run.evaluate()
    assert found["split"] == run.metrics["split"]
    assert found["split_given_others"] == run.metrics["split_given_others"]


def test_training_again_gives_the_same_bytes_and_another_seed_others(run, store, tmp_path):
    again = train(store, tmp_path / "again", small_config(), logs=False)
    assert weights(again.path) == weights(run.path)
    assert history(again.path) == history(run.path)
    other = train(store, tmp_path / "other", small_config(seed=1), logs=False)
    assert weights(other.path) != weights(run.path)


def test_a_finished_run_is_returned_as_it_is(run, store):
    before = {p.name: (p.stat().st_mtime_ns) for p in run.path.iterdir()}
    again = train(store, run.path, small_config())
    assert again == run
    assert {p.name: p.stat().st_mtime_ns for p in run.path.iterdir()} == before


def test_training_learns_what_is_there():
    """A target that is a function of the features; its validation loss falls to a third."""
    store = small_store(unlabelled=0.0, missing=0.0, tasks=("regression",), most=1)
    y = store.nodes("m0").x[:, :1].clone()
    y = torch.cat([torch.zeros(1, 1), y])[: len(store)]  # the first sample has no node
    tensors = {**store.tensors, "y/t0": y, "x/m0": store.nodes("m0").x}
    store = GraphStore(store.meta, tensors)
    _, keeper = fit(store, small_config(epochs=30, lr=0.02, patience=30), None)
    assert min(row["valid_score"] for row in keeper.history) < 1 / 3


def test_the_best_epoch_is_kept(tmp_path):
    store = small_store()
    network, keeper = fit(store, small_config(epochs=8, lr=0.05), None)
    found = [row["valid_score"] for row in keeper.history]
    assert keeper.best_epoch == found.index(min(found))
    assert all(torch.equal(network.state_dict()[k], v) for k, v in keeper.best.items())


def test_training_stops_when_nothing_gets_better():
    _, keeper = fit(small_store(), small_config(epochs=40, lr=0.05, patience=2), None)
    assert len(keeper.history) == keeper.best_epoch + 3 < 40


def test_the_validation_score_is_relative_to_the_constant_predictor():
    """Mean over tasks of validation loss over that of the training mean."""
    store = small_store()
    network, keeper = fit(store, small_config(epochs=1), None)
    assert keeper.history[0]["valid_score"] == pytest.approx(valid_score(network, store), rel=1e-5)


def test_outputs_do_not_depend_on_the_batch_size(run, store):
    network = run.network("cpu")
    a, b = (outputs(network, store, store.rows(), batch_size=n) for n in (7, 256))
    for task in a:
        torch.testing.assert_close(a[task], b[task], rtol=1e-5, atol=1e-5)
    none = outputs(network, store, torch.arange(0))
    assert all(len(v) == 0 for v in none.values())


def test_a_refit_trains_on_both_for_all_epochs(store, tmp_path):
    config = small_config(refit=True, patience=1)
    run = train(store, tmp_path / "run", config, logs=False)
    assert len(run.history) == 3
    assert set(run.metrics["split"]) == {"test"}
    moved = with_split(store, torch.where(store.split == 1, 0, store.split))
    network, _ = fit(moved, config, None)
    theirs = run.network("cpu").state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in network.state_dict().items())


def test_test_rows_choose_nothing(run, store, tmp_path):
    """Whatever labels and features the test rows hold, the weights are the same bytes."""
    tensors = dict(store.tensors)
    rows = store.rows("test")
    for m in store.schema.modality_names[:1]:
        x = tensors[f"x/{m}"].clone()
        x[tensors[f"ptr/{m}"][rows[0]] :] += 100
        tensors[f"x/{m}"] = x
    y = tensors["y/t0"].clone()
    y[rows] += 100
    tensors["y/t0"] = y
    other = train(GraphStore(store.meta, tensors), tmp_path / "run", small_config(), logs=False)
    assert weights(other.path) == weights(run.path)
    with pytest.raises(RunError, match="was trained on a store in memory"):
        other.store()


# -- broken off -------------------------------------------------------------------------------

DYING = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from gnnfusion.training import module
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.fit import train

place, step = tuple(map(int, sys.argv[4:])), module.FusionModule.training_step

def dying(self, batch, index):
    if (self.current_epoch, index) == place:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, index)

module.FusionModule.training_step = dying
train(sys.argv[1], sys.argv[2], TrainConfig.from_yaml(sys.argv[3]))
"""


def test_a_run_killed_in_mid_epoch_ends_as_the_unbroken_one(store, tmp_path):
    config = small_config(epochs=5, lr=0.01, warmup=0.3)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config.to_dict()))
    whole = train(store, tmp_path / "whole", config, logs=False)
    broken = tmp_path / "broken"
    # In mid-epoch twice, and once before any epoch has ended.
    for place, epochs in (((0, 2), 0), ((1, 3), 1), ((3, 1), 3)):
        command = [sys.executable, "-c", DYING, store.path, broken, tmp_path / "c.yaml"]
        done = subprocess.run([*map(str, [*command, *place])], capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
        assert (len(history(broken)) if epochs else 0) == epochs
        assert not (broken / "model.safetensors").exists()
        with pytest.raises(RunError, match="has not finished; call `gnnfusion train` again"):
            Run.load(broken)
    resumed = train(store, broken, config)
    assert weights(resumed.path) == weights(whole.path)
    assert history(broken) == history(whole.path)
    ignored = {"seconds"}
    a, b = ({k: v for k, v in r.metrics.items() if k not in ignored} for r in (resumed, whole))
    assert a == b


@pytest.mark.parametrize("step", ["evaluate", "model_card"])
def test_a_run_that_died_after_training_is_finished(store, tmp_path, monkeypatch, step):
    import gnnfusion.training.fit as module

    def fail(*args, **settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(module, step, fail)
        with pytest.raises(KeyboardInterrupt):
            train(store, tmp_path / "run", small_config(), logs=False)
    run = train(store, tmp_path / "run", small_config(), logs=False)
    assert len(run.history) == 3
    assert "test" in run.metrics["split"]
    assert (run.path / "README.md").is_file()


def test_a_damaged_checkpoint_is_said(store, tmp_path, monkeypatch):
    import gnnfusion.training.fit as module

    folder = tmp_path / "run"
    with monkeypatch.context() as m:
        m.setattr(module, "FusionModule", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(store, folder, small_config(), logs=False)
    for data in (b"", b"not a checkpoint", b"PK\x03\x04" + b"\0" * 99):
        (folder / "last.ckpt").write_bytes(data)
        with pytest.raises(RunError, match=r"last\.ckpt is corrupt; remove it to train again"):
            train(store, folder, small_config(), logs=False)


# -- what cannot be trained -------------------------------------------------------------------


def test_another_schema_or_setting_in_the_folder_is_said(run, store):
    other = small_store(tasks=("regression", "binary", "ordinal"))
    with pytest.raises(UsageError, match="holds a run of another schema; name another folder"):
        train(other, run.path, small_config())
    with pytest.raises(UsageError, match=r"a run with another 'lr' \(0.001, now 0.5\); name"):
        train(store, run.path, small_config(lr=0.5))


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (SPLIT.clip(max=1) * 2, "the split 'valid' is empty, so training cannot stop early"),
        (SPLIT.clip(min=1), "the split 'train' is empty"),
    ],
)
def test_an_empty_split_is_said_and_claims_no_folder(tmp_path, split, words):
    with pytest.raises(DataError, match=words):
        train(small_store(split=split), tmp_path / "run", small_config())
    assert not (tmp_path / "run").exists()


def test_a_task_without_training_labels_is_said(tmp_path):
    store = small_store()
    mask = store.tensors["mask/t1"].clone()
    mask[store.rows("train")] = 0
    store = GraphStore(store.meta, {**store.tensors, "mask/t1": mask})
    with pytest.raises(DataError, match="task 't1' has no label in the split 'train'"):
        train(store, tmp_path / "run", small_config())
    assert not (tmp_path / "run").exists()


def test_a_task_without_validation_labels_is_left_out_of_the_score():
    store = small_store()
    mask = store.tensors["mask/t1"].clone()
    mask[store.rows("valid")] = 0
    store = GraphStore(store.meta, {**store.tensors, "mask/t1": mask})
    _, keeper = fit(store, small_config(epochs=1), None)
    row = keeper.history[0]
    assert row["valid_t1"] != row["valid_t1"]  # NaN: nothing was measured
    assert row["valid_score"] == row["valid_score"]


def test_a_store_without_tasks_is_said(tmp_path):
    with pytest.raises(UsageError, match="the store has no task to train"):
        train(small_store(tasks=()), tmp_path / "run", small_config())


def test_a_folder_of_something_else_is_kept(store, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists and is no run folder; name another folder"):
        train(store, tmp_path, small_config())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_an_absent_gpu_is_said(store, tmp_path):
    with pytest.raises(UsageError, match="no CUDA device is available; use --device cpu"):
        train(store, tmp_path / "run", small_config(device="cuda"))
    assert not (tmp_path / "run").exists()


def test_damaged_runs_are_said(store, tmp_path):
    run = train(store, tmp_path / "run", small_config(epochs=1), logs=False)
    good = weights(run.path)
    for data in (good[:-7], b"", b"\xff" * 50):
        (run.path / "model.safetensors").write_bytes(data)
        with pytest.raises(RunError, match=r"model\.safetensors is corrupt; train again"):
            Run.load(run.path).network()
    other = train(small_store(tasks=("ordinal",)), tmp_path / "b", small_config(epochs=1))
    (run.path / "model.safetensors").write_bytes(weights(other.path))
    with pytest.raises(RunError, match=r"does not fit schema\.yaml: it was trained for another"):
        Run.load(run.path).network()
    with pytest.raises(RunError, match="is not a run folder; make one with `gnnfusion train`"):
        Run.load(tmp_path)


# -- settings ---------------------------------------------------------------------------------


def test_settings_go_to_yaml_and_back(tmp_path):
    network = NetworkConfig(groups=(("t0", "t2"), ("t1",)))
    config = small_config(lr=3e-7, schedule="constant", refit=True, network=network)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config.to_dict()))
    assert TrainConfig.from_yaml(tmp_path / "c.yaml") == config
    assert json.loads(json.dumps(config.to_dict())) == config.to_dict()
    (tmp_path / "c.yaml").write_text("")
    assert TrainConfig.from_yaml(tmp_path / "c.yaml") == TrainConfig()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epoch": 3}, "unknown setting 'epoch'; use network, epochs, batch_size"),
        ({"network": {"depth": 3}}, "unknown setting 'depth'; use width, layers, heads"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"lr": -1.0}, "lr must be positive, not -1.0"),
        ({"evidence": 1.5}, "evidence must lie between 0 and 1, not 1.5"),
        ({"modality_dropout": 1.0}, "modality_dropout must be at least 0 and below 1, not 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing must be at least 0 and below 1, not -0.1"),
        ({"schedule": "step"}, "unknown schedule 'step'; use cosine or constant"),
        ({"device": "tpu"}, "unknown device 'tpu'; use auto, cpu or cuda"),
    ],
)
def test_settings_that_do_not_fit_are_said(values, words):
    with pytest.raises(UsageError, match=words):
        TrainConfig.from_dict(values)


def test_the_learning_rate_rises_and_falls():
    """Linear warm-up, then a cosine to zero."""
    store = small_store()
    config = small_config(epochs=4, warmup=0.2, lr=0.1)  # 20 steps, 4 of them warm-up
    module = FusionModule(
        network_for(store, config.network), store, config, store.rows("train"), store.rows("valid")
    )
    module.trainer = type("Trainer", (), {"current_epoch": 0})()
    made = module.configure_optimizers()
    rate = made["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert [rate(s) for s in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    for s in range(4, 21):
        assert rate(s) == pytest.approx(0.5 * (1 + math.cos(math.pi * (s - 4) / 16)))
    decay = {id(p): g["weight_decay"] for g in made["optimizer"].param_groups for p in g["params"]}
    for parameter in module.network.parameters():
        assert decay[id(parameter)] == (0.01 if parameter.ndim > 1 else 0.0)


def test_other_data_of_the_same_schema_is_said(run, store):
    meta = {**store.meta, "inputs": "another digest"}
    other = GraphStore(meta, store.tensors, store.path)
    with pytest.raises(UsageError, match="holds a run on other data; name another folder"):
        train(other, run.path, run.config)


def test_a_view_of_the_store_is_other_data(run, store, tmp_path):
    """Neither resumed from the store's run, nor judged later on the store that it was not."""
    swapped = with_split(store, (2 - store.split) % 3)
    hidden = with_missing(
        store, torch.ones(len(store), 3, dtype=torch.bool) * (store.split == 2)[:, None]
    )
    for view in (swapped, hidden):
        with pytest.raises(UsageError, match="holds a run on other data; name another folder"):
            train(view, run.path, run.config)
    other = train(hidden, tmp_path / "run", small_config(epochs=1), logs=False)
    with pytest.raises(RunError, match="seen with other labels, splits or weights; save that"):
        other.store()
    assert run.store().path.resolve() == store.path.resolve()


def test_a_task_that_diverged_is_no_gain_for_the_score():
    """Left out of the mean, it would make the epoch in which it happened look good."""
    store = small_store()
    config = small_config()
    module = FusionModule(
        network_for(store, config.network), store, config, store.rows("train"), store.rows("valid")
    )
    module._valid_count[:] = 15
    module._valid_sum[:] = 15 * module.yardstick
    assert module.valid_score() == pytest.approx(1.0)
    for wrong in (float("nan"), float("inf")):
        module._valid_sum[0] = wrong
        assert module.valid_score() == float("inf")
    module.yardstick[0] = float("nan")  # no labels, nothing to diverge on
    assert module.valid_score() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "value"), [("heads", 0), ("width", 0), ("layers", 0), ("dropout", 1.0)]
)
def test_sizes_that_make_no_network_are_said(name, value):
    with pytest.raises(UsageError, match=rf"network\.{name} must be"):
        NetworkConfig(**{name: value})
