"""Several passes over the same samples are what each gives alone, and encode modalities once."""

from functools import partial

import pytest
import torch
from random_stores import make_store

from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.network import FusionNetwork, network_for
from gnnfusion.relatedness.controls import with_shuffled_labels
from gnnfusion.relatedness.estimators.ablation import cut
from gnnfusion.training.evaluate import Pass, outputs, outputs_of_passes
from gnnfusion.training.evidence import only_shown


@pytest.fixture(scope="module")
def store():
    return make_store(samples=11, missing=0.3, unlabelled=0.2)


def network_of(store, groups=()) -> FusionNetwork:
    torch.manual_seed(0)
    return network_for(store, NetworkConfig(width=8, heads=2, groups=groups)).eval()


def encodings(network):
    """Counts how often an encoder of the modality m0 runs."""
    seen = []
    for name, module in network.named_modules():
        if name.endswith("encoders.m0"):
            module.register_forward_hook(lambda *_: seen.append(1))
    return seen


@pytest.mark.parametrize("groups", [(), (("t0", "t2"), ("t1",))])
def test_passes_are_what_each_gives_alone(store, groups):
    network, rows = network_of(store, groups), torch.tensor([3, 1, 7, 10, 0, 2])
    others = with_shuffled_labels(store, store.rows(), seed=0)
    shown = [partial(only_shown, task=place) for place in range(3)]
    passes = [
        Pass(),
        *(Pass(shown=each) for each in shown),
        Pass(shown=shown[0], told=others),
        Pass(shown=shown[0], tasks=["t2"]),
    ]
    seen = encodings(network)
    plain, *told, by_others, alone = outputs_of_passes(network, store, rows, passes, batch_size=4)
    assert len(seen) == 2 * max(len(groups), 1)  # two batches
    for found, each in zip((plain, *told), (None, *shown), strict=True):
        for task, out in outputs(network, store, rows, each, batch_size=4).items():
            assert torch.equal(found[task], out)
    for task, out in outputs(network, others, rows, shown[0], batch_size=4).items():
        assert torch.equal(by_others[task], out)
    assert list(alone) == ["t2"]
    assert torch.equal(alone["t2"], told[0]["t2"])
    assert not torch.equal(plain["t2"], told[0]["t2"])
    assert not torch.equal(by_others["t2"], told[0]["t2"])


def test_what_is_cut_in_one_pass_is_there_in_the_next(store):
    network, rows = network_of(store), store.rows()
    passes = [Pass(), Pass(within=partial(cut, network, 0)), Pass()]
    before, between, after = outputs_of_passes(network, store, rows, passes)
    with cut(network, 0):
        alone = outputs(network, store, rows)
    assert all(torch.equal(between[t], alone[t]) for t in alone)
    assert not all(torch.equal(between[t], before[t]) for t in alone)
    assert all(torch.equal(after[t], before[t]) for t in alone)
    assert all(len(out) == 0 for out in outputs(network, store, rows[:0]).values())
    assert outputs_of_passes(network, store, rows, []) == []
