"""The running average of weights: its formula, what is validated and kept, and resuming."""

import pytest
import torch
from small_runs import same_when_broken_off, small_config, small_store, valid_score

from gnnfusion.errors import UsageError
from gnnfusion.training.averaging import average_of
from gnnfusion.training.fit import fit
from gnnfusion.training.module import FusionModule


def test_the_average_follows_its_formula():
    torch.manual_seed(0)
    network = torch.nn.Linear(2, 3)
    average = average_of(network, 0.6)
    expected = None
    for n in range(8):
        with torch.no_grad():
            network.weight.normal_()
        decay = min(0.6, (1 + n) / (10 + n))
        now = network.weight.detach().clone()
        expected = now if expected is None else decay * expected + (1 - decay) * now
        average.update_parameters(network)
    torch.testing.assert_close(average.module.weight.detach(), expected)


@pytest.mark.parametrize("refit", [False, True])
def test_the_average_is_what_is_kept(refit, monkeypatch):
    """The weights of every step, averaged by hand."""
    store, config = small_store(), small_config(epochs=2, lr=0.01, refit=refit)
    seen = []
    end = FusionModule.on_train_batch_end

    def watch(self, *arguments):
        end(self, *arguments)
        seen.append({k: v.detach().clone() for k, v in self.network.named_parameters()})

    with monkeypatch.context() as m:
        m.setattr(FusionModule, "on_train_batch_end", watch)
        network, keeper = fit(store, small_config(epochs=2, lr=0.01, refit=refit, ema=0.8), None)
    steps = len(seen) // 2 * (keeper.best_epoch + 1)
    for name, value in network.named_parameters():
        expected = seen[0][name]
        for n, step in enumerate(seen[1:steps], 1):
            decay = min(0.8, (1 + n) / (10 + n))
            expected = decay * expected + (1 - decay) * step[name]
        torch.testing.assert_close(value.detach(), expected)
    plain, _ = fit(store, config, None)
    # The steps themselves are those of a training without it.
    last = dict(plain.named_parameters())
    if refit:
        assert all(torch.equal(last[k], v) for k, v in seen[-1].items())


def test_the_validation_score_is_that_of_the_average():
    store = small_store()
    network, keeper = fit(store, small_config(epochs=1, ema=0.9), None)
    assert keeper.best_score == pytest.approx(valid_score(network, store), rel=1e-5)


def test_broken_off_it_ends_as_the_unbroken_one(tmp_path, monkeypatch):
    same_when_broken_off(tmp_path, small_config(epochs=4, ema=0.9), monkeypatch)


def test_heads_train_on_from_the_average():
    store = small_store()
    network, keeper = fit(store, small_config(epochs=2, ema=0.9, head_epochs=2), None)
    plain, before = fit(store, small_config(epochs=2, ema=0.9), None)
    assert keeper.best_score <= before.best_score + 1e-6
    theirs = dict(plain.named_parameters())
    kept = [k for k, v in network.named_parameters() if torch.equal(v, theirs[k])]
    assert any(k.startswith("encoders") for k in kept), "shared weights stay those of the average"


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_decay_that_cannot_be_is_refused(value):
    with pytest.raises(UsageError, match="ema must be at least 0 and below 1"):
        small_config(ema=value)
