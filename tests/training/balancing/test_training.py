"""Every method trains by one flag, with half of the labels and 30 % of the modalities missing."""

import json

import pytest
import torch
from random_stores import make_store
from small_runs import SPLIT, WatchedSteps, broken_off, followed, small_config, small_store
from toy_losses import STATEFUL

from gnnfusion.cli import main
from gnnfusion.errors import RunError, UsageError
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.training import balancing
from gnnfusion.training.balancing import BALANCINGS, find_balancing
from gnnfusion.training.fit import fit, train
from gnnfusion.training.module import FusionModule
from gnnfusion.training.run import Run

TASKS = ("t0", "t1", "t2")


def vectors(**more):
    return make_store(("vector", "vector"), samples=len(SPLIT), split=SPLIT, most=1, **more)


@pytest.fixture(scope="module")
def learnable():
    return followed(vectors(missing=0.3, unlabelled=0.5))


def config(name, **changes):
    network = NetworkConfig(width=8, layers=1, heads=2, dropout=0.1, fusion="average")
    values = {"network": network, "epochs": 5, "lr": 0.02, "patience": 99, "batch_size": 5}
    return small_config(balancing=name, **{**values, **changes})


@pytest.mark.parametrize("name", BALANCINGS)
def test_the_training_loss_falls_and_no_step_stalls(name, learnable, monkeypatch):
    """Four samples a step, so that tasks come and go; every shared parameter gets a gradient."""
    steps, lacking = WatchedSteps(monkeypatch), []

    def losses_of(module, batch, index):
        losses, count = plain(module, batch, index)
        lacking.append(bool((count == 0).any()))
        return losses, count

    plain = FusionModule.losses_of
    monkeypatch.setattr(FusionModule, "losses_of", losses_of)
    network, keeper = fit(learnable, config(name, batch_size=4), None)
    losses = [sum(row[f"train_{t}"] for t in TASKS) for row in keeper.history]
    assert all(loss == loss for loss in losses)
    assert losses[-1] < 0.9 * losses[0]
    assert sum(lacking) >= 5
    assert not any(steps.stalled)
    assert len(steps.reached) == len(list(network.parameters()))
    assert all(steps.reached.values()), [k for k, any_ in steps.reached.items() if not any_]


@pytest.mark.parametrize("name", [*STATEFUL, "pcgrad"])
def test_a_run_broken_off_ends_as_the_unbroken_one(name, tmp_path, monkeypatch):
    store = vectors(unlabelled=0.6)
    settings = config(name, epochs=3, batch_size=14, log_interference=2)
    whole = train(store, tmp_path / "whole", settings, logs=False)
    resumed = broken_off(store, tmp_path / "broken", settings, monkeypatch, place=(2, 1))
    for file in ("model.safetensors", "interference.csv"):
        assert (whole.path / file).read_bytes() == (resumed.path / file).read_bytes()
    keys = Run.load(whole.path).network("cpu").state_dict()
    assert not any("balancer" in key for key in keys)


def test_interference_is_logged_and_read_back(tmp_path):
    store = vectors(unlabelled=0.3)
    run = train(store, tmp_path / "run", config("static", epochs=2, log_interference=1), logs=False)
    rows = run.interference
    assert {(r["task_a"], r["task_b"]) for r in rows} == {("t0", "t1"), ("t0", "t2"), ("t1", "t2")}
    assert [int(r["epoch"]) for r in rows] == [0] * 3 + [1] * 3
    for row in rows:
        assert -1 <= float(row["cosine"]) <= 1
        assert 0 < float(row["magnitude_similarity"]) <= 1
        assert 0 <= float(row["conflict"]) <= 1
        assert float(row["norm_a"]) > 0
        assert 0 < int(row["steps"]) <= 8
    without = train(store, tmp_path / "without", config("static", epochs=2), logs=False)
    with pytest.raises(RunError, match="logged no interference; train with log_interference"):
        _ = without.interference
    weights = [(r.path / "model.safetensors").read_bytes() for r in (run, without)]
    assert weights[0] == weights[1]  # to look changes nothing
    with pytest.raises(UsageError, match="log_interference must be at least 0"):
        config("static", log_interference=-1)


def test_famo_is_told_the_same_losses_after_the_step(monkeypatch):
    """Without a learning rate the step changes nothing, and neither do they: dropout and all."""
    found = []
    famo = balancing.load_method(find_balancing("famo")).FAMO

    def after_step(self, losses):
        found.append((self.before, self.scaled(losses)[self.places]))

    monkeypatch.setattr(famo, "after_step", after_step)
    fit(vectors(), config("famo", epochs=1, lr=1e-12), None)
    assert len(found) == 8
    for before, after in found:
        torch.testing.assert_close(before, after, rtol=1e-5, atol=1e-6)
    found.clear()
    fit(vectors(), config("famo", epochs=1, lr=0.05), None)
    assert not any(torch.allclose(before, after) for before, after in found[1:])


@pytest.mark.parametrize("name", ["gradnorm", "famo", "upgrad"])
def test_half_precision_trains(name):
    _, keeper = fit(small_store(), config(name, epochs=1, precision="bf16-mixed"), None)
    assert all(row[f"train_{t}"] == row[f"train_{t}"] for row in keeper.history for t in TASKS)


def test_a_refit_measures_performance_on_its_training_rows():
    network, keeper = fit(vectors(), config("performance", epochs=3, refit=True), None)
    static, _ = fit(vectors(), config("static", epochs=3, refit=True), None)
    assert len(keeper.history) == 3
    pairs = zip(network.parameters(), static.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_what_is_not_installed_is_said_before_a_folder_is_made(tmp_path, monkeypatch):
    from torchjd import _mixins

    monkeypatch.setattr(_mixins, "find_spec", lambda package: None)
    with pytest.raises(UsageError, match="pip install torchjd quadprog qpsolvers"):
        train(vectors(), tmp_path / "run", config("upgrad"))
    assert not (tmp_path / "run").exists()


def test_one_flag_trains_and_draws_the_interference(tmp_path, capsys):
    small_store(tmp_path / "store", split=SPLIT)
    small = ["--network.width", "8", "--network.heads", "2", "--epochs", "2", "--device", "cpu"]
    words = ["train", tmp_path / "store", "-o", tmp_path / "run", "--balancing", "upgrad", *small]
    assert main([*map(str, words), "--log_interference", "1"]) == 0
    run = Run.load(tmp_path / "run")
    assert run.config.balancing == "upgrad"
    assert (run.path / "figures" / "interference.png").stat().st_size > 1000
    assert "balanced by upgrad" in (run.path / "README.md").read_text()
    words[words.index("upgrad")] = "glue"
    assert main([*map(str, words)]) == 2
    assert "unknown balancing 'glue'" in capsys.readouterr().err


def test_methods_are_listed_as_json(tmp_path):
    assert main(["info", "--methods", "--json", str(tmp_path / "m.json")]) == 0
    found = json.loads((tmp_path / "m.json").read_text())["balancing"]
    assert list(found) == list(BALANCINGS)
    assert all(set(entry) == {"summary", "reference"} for entry in found.values())
