"""Every fusion trains by one flag, with modalities and labels missing, and is read back."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from random_stores import make_network, make_store
from small_runs import SPLIT, WatchedSteps, learnable, small_config, small_store

from gnnfusion import Modality, Schema, Task
from gnnfusion.cli import main
from gnnfusion.errors import UsageError
from gnnfusion.graphs.arrays import store_from_arrays
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion import FUSIONS
from gnnfusion.relatedness.estimators.attention import estimate
from gnnfusion.relatedness.relate import relate
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.fit import fit, train
from gnnfusion.training.module import FusionModule
from gnnfusion.training.run import Run

TASKS = ("regression", "binary", "multiclass")


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_training_loss_falls_and_no_step_stalls(fusion, monkeypatch):
    steps = WatchedSteps(monkeypatch)
    network = NetworkConfig(width=8, heads=2, dropout=0.1, fusion=fusion)
    config = small_config(network=network, epochs=12, lr=0.02, patience=99)
    _, keeper = fit(learnable(), config, None)
    losses = [sum(row[f"train_{t}"] for t in ("t0", "t1", "t2")) for row in keeper.history]
    assert all(loss == loss for loss in losses)
    assert losses[-1] < 0.9 * losses[0]
    assert steps.stalled
    assert not any(steps.stalled)


def test_a_fusion_without_task_nodes_trains_as_with_evidence_0():
    """Not one label is shown: the very same weights come out."""
    store = small_store()
    found = {}
    for share in (0.0, 0.5):
        network = NetworkConfig(width=8, heads=2, fusion="concat")
        trained, _ = fit(store, small_config(network=network, epochs=2, evidence=share), None)
        found[share] = trained.state_dict()
    assert not any(name.startswith(("labels", "task_embedding")) for name in found[0.0])
    assert all(torch.equal(value, found[0.5][name]) for name, value in found[0.0].items())
    rows = store.rows("train")
    modules = [
        FusionModule(make_network(store, fusion=f), store, small_config(evidence=0.5), rows, rows)
        for f in ("concat", "transformer")
    ]
    assert [module.evidence for module in modules] == [0.0, 0.5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store, and a run by the short flag of a fusion that cannot read labels."""
    folder = tmp_path_factory.mktemp("fusion")
    small_store(folder / "store")
    small = ["--network.width", "8", "--network.heads", "2", "--epochs", "1", "--device", "cpu"]
    words = ["train", folder / "store", "-o", folder / "run", "--fusion", "late", *small]
    assert main([str(w) for w in words]) == 0
    words = ["train", folder / "store", "-o", folder / "run2", "--fusion=encoder_decoder", *small]
    assert main([str(w) for w in words]) == 0
    return folder


def test_the_flag_is_short_for_the_networks(folder):
    assert Run.load(folder / "run").config.network.fusion == "late"
    assert Run.load(folder / "run2").config.network.fusion == "encoder_decoder"
    assert "Fusion by late (2 layers, width 8" in (folder / "run/README.md").read_text()


def test_scores_with_others_known_are_left_out_where_none_can_be_known(folder):
    for name, splits in (("run", set()), ("run2", {"valid", "test"})):
        run = Run.load(folder / name)
        assert set(run.metrics["split"]) == {"valid", "test"}
        assert set(run.metrics["split_given_others"]) == splits
        found = run.evaluate(device="cpu")
        assert found["split"] == run.metrics["split"]
        assert set(found["split_given_others"]) == splits
    assert main(["evaluate", str(folder / "run"), "--device", "cpu"]) == 0


def test_what_would_show_it_labels_says_why_not(folder, capsys):
    run = Run.load(folder / "run")
    words = "the fusion 'late' has no task nodes, so it cannot read known labels; train with one"
    with pytest.raises(UsageError, match=words):
        relate(run, "evidence")
    with pytest.raises(UsageError, match=words):
        run.predict(pd.DataFrame(), given="auto")
    capsys.readouterr()
    assert main(["relate", str(folder / "run"), "--device", "cpu"]) == 2
    assert words in capsys.readouterr().err
    assert relate(run, "labels").method == "labels"
    assert relate(folder / "run2", "evidence", device="cpu").method == "evidence"


def test_attention_among_tasks_is_had_from_gat_and_gatv2_alone():
    store = make_store(samples=20)
    for fusion in FUSIONS:
        network = make_network(store, fusion=fusion)
        if fusion in ("gat", "gatv2"):
            assert estimate(network, store, store.rows(), 0).method == "attention"
        else:
            with pytest.raises(UsageError, match=f"'{fusion}' has no attention among tasks alone"):
                estimate(network, store, store.rows(), 0)


def test_learned_gates_are_read_off_a_loaded_run(tmp_path):
    store = small_store(tmp_path / "store", split=SPLIT)
    network = NetworkConfig(width=8, heads=2, fusion="learned_topology")
    run = train(store, tmp_path / "run", small_config(network=network, lr=0.05), logs=False)
    gates = run.network("cpu").fusion.gates()
    assert {pair for pair in gates if pair[0] == "m0"} == {("m0", t) for t in ("t0", "t1", "t2")}
    assert all(0 <= gate <= 1 for gate in gates.values())
    assert len({round(gate, 6) for gate in gates.values()}) > 1


def test_gates_close_what_carries_nothing_and_leave_open_what_is_needed():
    """Each task is told by one modality of three, and one of these is noise."""
    draw, rows, names = np.random.default_rng(1), 300, ("a", "b", "noise")
    x = {m: draw.normal(size=(rows, 4)).astype(np.float32) for m in names}
    y = {f"of_{m}": x[m][:, 0] + 0.3 * draw.normal(size=rows) for m in ("a", "b")}
    schema = Schema(
        modalities=tuple(Modality(name=m, kind="array", columns=(m,)) for m in names),
        tasks=tuple(Task(name=t, kind="regression") for t in y),
    )
    nodes = {m: [row[None] for row in values] for m, values in x.items()}
    split = np.repeat([0, 1], [200, 100])
    store = store_from_arrays(schema, nodes, y, split=split)
    config = TrainConfig(
        epochs=20, lr=0.003, batch_size=64, evidence=0.0,
        network=NetworkConfig(width=16, heads=2, fusion="learned_topology"),
    )  # fmt: skip
    network, _ = fit(store, config, None)
    gates = network.fusion.gates()
    needed = {("a", "of_a"), ("b", "of_b")}
    assert min(gates[pair] for pair in needed) > 0.6
    assert max(gate for pair, gate in gates.items() if pair not in needed) < 0.4


def test_methods_are_listed_on_the_terminal_and_as_json(tmp_path, capsys):
    assert main(["info", "--methods", "--json", str(tmp_path / "m.json")]) == 0
    found = json.loads((tmp_path / "m.json").read_text())
    assert {"fusion", "sharing", "balancing"} <= set(found)
    assert list(found["fusion"]) == list(FUSIONS)
    for entry in found["fusion"].values():
        assert set(entry) == {"summary", "reference"}
        assert entry["reference"].startswith("https://")
    said = capsys.readouterr().out
    assert "learned_topology" in said
    assert found["fusion"]["mult"]["summary"] in said


def test_a_settings_file_names_the_fusion(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({"network": {"fusion": "tensor"}}))
    assert TrainConfig.from_yaml(path).network.fusion == "tensor"
    with pytest.raises(UsageError, match="unknown setting 'conv'"):
        TrainConfig.from_dict({"network": {"conv": "gat"}})
