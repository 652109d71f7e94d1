"""Rates and early stopping of single tasks: what is theirs moves, and nothing else."""

import pytest
import torch
from small_runs import learnable, small_config, small_store

from gnnfusion.errors import UsageError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.network import network_for
from gnnfusion.nn.ownership import task_parameters
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.fit import fit, train
from gnnfusion.training.heads import train_heads
from gnnfusion.training.module import FusionModule
from gnnfusion.training.seeding import derived_seed


def begun(store, **settings):
    """A module with a network as it is made, not trained yet."""
    config = small_config(lr=0.01, head_epochs=12, patience=3, **settings)
    torch.manual_seed(0)
    network = network_for(store, config.network)
    network.fit_statistics(store, store.rows("train"))
    return FusionModule(network, store, config, store.rows("train"), store.rows("valid"))


def state(network):
    return {k: v.clone() for k, v in network.state_dict().items()}


@pytest.mark.parametrize("sharing", ["task_nodes", "hard", "private", "single"])
def test_a_factor_scales_the_rate_of_what_the_task_has_alone(sharing):
    store = learnable()
    network = NetworkConfig(width=8, layers=1, heads=2, sharing=sharing)
    module = begun(store, task_lr={"t1": 3.0}, network=network)
    own = task_parameters(module.network, store)
    named = {id(p): name for name, p in module.network.named_parameters()}
    found = {named[id(p)]: g["lr"] for g in module.parameter_groups() for p in g["params"]}
    assert set(found) == set(named.values())
    for name, lr in found.items():
        assert lr == pytest.approx(0.03 if name in own["t1"] else 0.01)


def test_a_head_at_a_rate_of_nothing_stays_where_it_was():
    store = learnable()
    config = small_config(epochs=1, task_lr={"t1": 1e-12})
    torch.manual_seed(derived_seed("weights", config.seed))
    before = state(network_for(store, config.network))
    after, _ = fit(store, config, None)
    for name, value in after.state_dict().items():
        if name.startswith("heads.t1.net"):
            torch.testing.assert_close(value, before[name], rtol=0, atol=1e-9)
        elif name.startswith("heads") and name.endswith("net.0.weight"):
            assert not torch.allclose(value, before[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("sharing", ["task_nodes", "private", "single"])
def test_only_heads_move_and_no_task_ends_worse_than_it_began(sharing):
    store = learnable()
    module = begun(store, network=NetworkConfig(width=8, layers=1, heads=2, sharing=sharing))
    before, rates = state(module.network), [p.requires_grad for p in module.network.parameters()]
    module.on_validation_epoch_start()
    for step, batch in enumerate(module.val_dataloader()):
        module.network.eval()
        module.validation_step(batch, step)
    began = module.epoch_losses()["valid"].clone()
    epochs = train_heads(module)
    ended = module.epoch_losses()["valid"]
    own = {n for names in task_parameters(module.network, store).values() for n in names}
    moved = {k for k, v in module.network.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert moved <= own
    assert [p.requires_grad for p in module.network.parameters()] == rates
    for task, a, b in zip(store.schema.task_names, began, ended, strict=True):
        assert (b < a) if epochs[task] else (b == a)


def test_what_one_task_does_reaches_no_other():
    """Another rate for t2 leaves the heads of the others their bits."""
    store = learnable()
    left, right = begun(store), begun(store, task_lr={"t2": 20.0})
    assert train_heads(left)["t1"] == train_heads(right)["t1"] > 0
    a, b = left.network.state_dict(), right.network.state_dict()
    for name in a:
        assert torch.equal(a[name], b[name]) == (not name.startswith("heads.t2.net"))


def test_a_task_without_validation_labels_keeps_its_head():
    store = learnable()
    mask = store.tensors["mask/t2"].clone()
    mask[store.rows("valid")] = 0
    module = begun(GraphStore(store.meta, {**store.tensors, "mask/t2": mask}))
    before = state(module.network)
    epochs = train_heads(module)
    assert epochs["t2"] == 0
    assert epochs["t1"] > 0
    after = module.network.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in before if k.startswith("heads.t2"))


def test_the_phase_ends_with_its_time_and_its_time_counts():
    assert max(train_heads(begun(learnable()), 0.0).values()) == 1
    _, keeper = fit(learnable(), small_config(head_epochs=2), None)
    assert keeper.head_seconds > 0
    assert keeper.seconds == sum(r["seconds"] for r in keeper.history) + keeper.head_seconds
    _, late = fit(learnable(), small_config(head_epochs=2, max_seconds=1e-6), None)
    assert (len(late.history), late.head_epochs) == (1, {})


def test_a_run_that_died_between_the_phases_ends_as_the_unbroken_one(tmp_path, monkeypatch):
    import gnnfusion.training.fit as module

    store = small_store(tmp_path / "store")
    config = small_config(head_epochs=4, lr=0.02)
    whole = train(store, tmp_path / "whole", config, logs=False)

    def fail(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(module, "train_heads", fail)
        with pytest.raises(KeyboardInterrupt):
            train(store, tmp_path / "broken", config, logs=False)
    broken = train(store, tmp_path / "broken", config, logs=False)
    weights = [(r.path / "model.safetensors").read_bytes() for r in (whole, broken)]
    assert weights[0] == weights[1]
    assert whole.metrics["head_epochs"] == broken.metrics["head_epochs"]
    assert set(whole.metrics["head_epochs"]) == {"t0", "t1", "t2"}
    without = train(store, tmp_path / "without", small_config(lr=0.02), logs=False)
    a, b = (r.network("cpu").state_dict() for r in (whole, without))
    assert all(torch.equal(a[k], b[k]) for k in a if not k.startswith("heads"))


def test_settings_of_tasks_that_cannot_be_are_said(tmp_path):
    with pytest.raises(UsageError, match="task_lr of 't0' must be positive, not 0"):
        TrainConfig(task_lr={"t0": 0})
    with pytest.raises(UsageError, match="a refit has none; leave it 0"):
        TrainConfig(head_epochs=2, refit=True)
    with pytest.raises(UsageError, match="task_lr names 'wear', which is no task; use t0, t1, t2"):
        train(small_store(), tmp_path / "run", small_config(task_lr={"wear": 2.0}))
    assert not (tmp_path / "run").exists()
