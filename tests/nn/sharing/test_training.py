"""Every architecture trains by one flag, with modalities and labels missing, and is read back."""

import json

import pandas as pd
import pytest
import torch
import yaml
from outputs import run as outputs
from outputs import with_tasks
from small_runs import WatchedSteps, learnable, small_config, small_store

from gnnfusion.cli import main
from gnnfusion.errors import UsageError
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.sharing import SHARINGS, refusal
from gnnfusion.relatedness.relate import relate
from gnnfusion.training.fit import fit, train
from gnnfusion.training.run import Run

TASKS = ("t0", "t1", "t2")


@pytest.mark.parametrize(
    ("sharing", "fusion"),
    [(s, f) for s in SHARINGS for f in ("late", "concat", "gatv2") if refusal(s, f) is None],
)
def test_the_training_loss_falls_and_no_step_stalls(sharing, fusion, monkeypatch):
    steps = WatchedSteps(monkeypatch)
    network = NetworkConfig(
        width=8, heads=2, dropout=0.1, fusion=fusion, sharing=sharing, experts=2
    )
    config = small_config(network=network, epochs=5, lr=0.04, patience=99)
    _, keeper = fit(learnable(), config, None)
    losses = [sum(row[f"train_{t}"] for t in TASKS) for row in keeper.history]
    assert all(loss == loss for loss in losses)
    assert losses[-1] < 0.9 * losses[0]
    assert steps.stalled
    assert not any(steps.stalled)


@pytest.mark.parametrize("fusion", ["concat", "gatv2"])
def test_single_networks_learn_what_each_learns_alone(fusion):
    """With dropout and modality dropout: all draw the same numbers. Loss weights (1 / T) scale
    gradients, which Adam undoes up to its epsilon; clipping would count them together."""
    store = small_store(missing=0.3, unlabelled=0.5)
    settings = {"refit": True, "clip": 1e9, "modality_dropout": 0.3, "epochs": 2}

    def config(sharing):
        network = NetworkConfig(width=8, heads=2, dropout=0.2, fusion=fusion, sharing=sharing)
        return small_config(network=network, **settings)

    together, keeper = fit(store, config("single"), None)
    for task in store.schema.tasks:
        alone_store = with_tasks(store, [task])
        alone, own = fit(alone_store, config("hard"), None)
        name = task.name
        for a, b in zip(keeper.history, own.history, strict=True):
            assert a[f"train_{name}"] == pytest.approx(b[f"train_{name}"], rel=1e-3)
        a, b = (
            outputs(n, s, range(70))[name] for n, s in ((together, store), (alone, alone_store))
        )
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


# -- by flag ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharing")
    small_store(folder / "store")
    return folder


def command(folder, out, *words):
    small = ["--network.width", "8", "--network.heads", "2", "--epochs", "1", "--device", "cpu"]
    return main(["train", str(folder / "store"), "-o", str(folder / out), *words, *small])


@pytest.mark.parametrize("sharing", ["mmoe", "single"])
def test_a_run_is_trained_by_flag_and_read_back(folder, sharing):
    assert command(folder, sharing, "--sharing", sharing) == 0
    run = Run.load(folder / sharing)
    assert (run.config.network.fusion, run.config.network.sharing) == ("gatv2", sharing)
    assert f"sharing {sharing}" in (folder / sharing / "README.md").read_text()
    assert run.metrics["split_given_others"] == {}
    assert run.evaluate(device="cpu")["split"] == run.metrics["split"]
    words = f"the sharing '{sharing}' has no task nodes, so it cannot read known labels"
    with pytest.raises(UsageError, match=words):
        relate(run, "evidence")
    with pytest.raises(UsageError, match=words):
        run.predict(pd.DataFrame(), given="auto")
    with pytest.raises(UsageError, match=f"the sharing '{sharing}' has no task nodes, so no atten"):
        relate(run, "attention", device="cpu")
    assert relate(run, "labels", device="cpu").method == "labels"


def test_what_does_not_go_together_claims_no_folder(folder, capsys):
    assert command(folder, "bad", "--fusion", "late", "--sharing=ple") == 2
    assert "the sharing 'ple' mixes vectors" in capsys.readouterr().err
    assert command(folder, "bad", "--fusion", "concat", "--sharing", "task_nodes") == 2
    assert "the fusion 'concat' has no task nodes" in capsys.readouterr().err
    assert not (folder / "bad").exists()


def test_a_folder_of_before_there_was_a_choice_is_its_run(tmp_path):
    """Settings that its file does not name had the defaults."""
    store = small_store(tmp_path / "store")
    run = train(store, tmp_path / "run", small_config(epochs=1), logs=False)
    path = tmp_path / "run/config.yaml"
    values = yaml.safe_load(path.read_text())
    for name in ("sharing", "experts", "levels"):
        del values["network"][name]
    path.write_text(yaml.safe_dump(values))
    features = json.loads((tmp_path / "run/features.json").read_text())
    del features["data"]
    (tmp_path / "run/features.json").write_text(json.dumps(features))
    assert train(store, tmp_path / "run", small_config(epochs=1), logs=False) == run
    assert Run.load(tmp_path / "run").network("cpu").reads_labels
    network = NetworkConfig(width=8, heads=2, sharing="hard")
    with pytest.raises(UsageError, match="holds a run with another 'network'"):
        train(store, tmp_path / "run", small_config(epochs=1, network=network))


def test_the_table_of_methods_lists_them(tmp_path):
    assert main(["info", "--methods", "--json", str(tmp_path / "m.json")]) == 0
    found = json.loads((tmp_path / "m.json").read_text())["sharing"]
    assert found == {
        n: {"summary": m.summary, "reference": m.reference} for n, m in SHARINGS.items()
    }
