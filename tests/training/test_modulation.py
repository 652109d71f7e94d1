"""OGM-GE for any number of modalities: the paper's case, its symmetries, and what it may touch."""

import math

import pytest
import torch
from random_stores import make_network
from small_runs import learnable, same_when_broken_off, small_config, small_store
from torch import nn

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion import FUSIONS
from gnnfusion.training.fit import fit
from gnnfusion.training.modulation import (
    discrepancy_ratios,
    lone_scores,
    modulate,
    modulation_factors,
)
from gnnfusion.training.module import FusionModule


def everywhere(scores):
    return torch.ones(scores.shape, dtype=torch.bool)


def test_two_modalities_and_one_task_are_the_paper_s_case():
    torch.manual_seed(0)
    a, b = torch.rand(9), torch.rand(9) / 2
    scores = torch.stack([a, b]).unsqueeze(2)
    ratio = float(a.sum() / b.sum())
    found = discrepancy_ratios(scores, everywhere(scores))
    torch.testing.assert_close(found, torch.tensor([[ratio], [1 / ratio]]))
    k = modulation_factors(found, 0.3)
    torch.testing.assert_close(k, torch.tensor([1 - math.tanh(0.3 * ratio), 1.0]))


def test_modalities_that_serve_alike_are_all_left_alone():
    scores = torch.rand(1, 6, 2).expand(4, 6, 2)
    ratios = discrepancy_ratios(scores, everywhere(scores))
    torch.testing.assert_close(ratios, torch.ones(4, 2))
    assert torch.equal(modulation_factors(ratios.clamp(max=1), 0.5), torch.ones(4))


def test_a_better_modality_is_slowed_more_and_their_order_does_not_matter():
    torch.manual_seed(0)
    scores = torch.rand(3, 20, 2) * torch.tensor([0.3, 1.0, 0.6]).view(3, 1, 1)
    k = modulation_factors(discrepancy_ratios(scores, everywhere(scores)), 0.5)
    assert k[1] < k[2] <= k[0] == 1
    swapped = scores[[2, 0, 1]]
    torch.testing.assert_close(
        modulation_factors(discrepancy_ratios(swapped, everywhere(swapped)), 0.5), k[[2, 0, 1]]
    )


def test_missing_modalities_and_labels_are_in_no_sum():
    """Whatever stands where nothing is defined, and samples with one modality, change nothing."""
    torch.manual_seed(0)
    scores, defined = torch.rand(3, 30, 2), torch.rand(3, 30, 2) < 0.6
    found = discrepancy_ratios(scores, defined)
    filled = torch.where(defined, scores, torch.tensor(100.0))
    torch.testing.assert_close(discrepancy_ratios(filled, defined), found)
    lonely = torch.where((defined.sum(0) == 1) & defined, torch.tensor(100.0), scores)
    torch.testing.assert_close(discrepancy_ratios(lonely, defined), found)
    # By hand, for one pair.
    own = other = 0.0
    for i in range(30):
        rest = [scores[n, i, 1] for n in (1, 2) if defined[n, i, 1]]
        if defined[0, i, 1] and rest:
            own, other = own + scores[0, i, 1], other + sum(rest) / len(rest)
    torch.testing.assert_close(found[0, 1], own / other)


def test_a_step_without_two_modalities_is_left_alone():
    ratios = discrepancy_ratios(torch.rand(2, 3, 1), torch.zeros(2, 3, 1, dtype=torch.bool))
    assert torch.equal(modulation_factors(ratios, 1.0), torch.ones(2))
    one = torch.tensor([[2.0, float("nan")], [0.5, float("nan")]])
    torch.testing.assert_close(
        modulation_factors(one, 0.1), torch.tensor([1 - math.tanh(0.2), 1.0])
    )


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_has_scores_and_of_classes_they_are_probabilities(fusion):
    store = small_store()
    network = make_network(store, fusion=fusion)
    topology = topology_of(store)
    batch = make_batch(store, store.rows("train"), topology)
    scores, defined = lone_scores(network, store, topology, batch)
    present = store.present(batch.rows)
    assert torch.equal(defined, present.T.unsqueeze(2) & batch.masks)
    assert ((scores > 0) & (scores <= 1))[defined].all()
    assert (scores[~defined] == 0).all()
    assert not network.training
    without = torch.tensor([[False, True]]).expand(len(batch), 2)
    out = network(make_batch(store, batch.rows, topology, without))["t2"]
    chance = network.head("t2").probabilities(out)
    rows = defined[0, :, 2].nonzero().squeeze(1)
    expected = chance[rows, batch.targets["t2"][rows].long()]
    torch.testing.assert_close(scores[0, rows, 2], expected, atol=1e-5, rtol=1e-4)


def test_the_step_of_an_encoder_shrinks_by_its_factor_and_no_other_does():
    a, b, rest = (nn.Parameter(torch.zeros(2, 2)) for _ in range(3))
    groups = [
        {"params": [p], "lr": 0.1, "weight_decay": 0.0, "modality": m}
        for p, m in ((a, "a"), (b, "b"), (rest, None))
    ]
    optimizer = torch.optim.AdamW(groups)
    for p in (a, b, rest):
        p.grad = torch.ones_like(p)
    for _ in range(2):  # the first step may have been skipped, and the rates not set anew
        modulate(optimizer, [0.1] * 3, {"a": 0.25, "b": 1.0}, 0.0)
    optimizer.step()
    torch.testing.assert_close(a, 0.25 * rest)
    assert torch.equal(b, rest)


def test_the_noise_is_as_wide_as_the_gradient_and_vectors_get_none():
    torch.manual_seed(0)
    matrix, vector = nn.Parameter(torch.zeros(300, 300)), nn.Parameter(torch.zeros(300))
    gradient = 5 + 3 * torch.randn(300, 300)
    matrix.grad, vector.grad = gradient.clone(), torch.ones(300)
    group = {"params": [matrix, vector], "lr": 0.1, "modality": "a"}
    modulate(torch.optim.SGD([group]), [0.1], {"a": 0.5}, 0.5)
    added = matrix.grad - gradient
    assert added.std() == pytest.approx(1.5, rel=0.02)
    assert abs(added.mean()) < 0.02
    assert torch.equal(vector.grad, torch.ones(300))


@pytest.mark.parametrize("sharing", ["task_nodes", "single"])
def test_all_encoders_are_found_and_the_schedule_has_the_last_word(sharing):
    store = learnable()
    network = NetworkConfig(width=8, layers=1, heads=2, sharing=sharing)
    config = small_config(modulation=0.5, network=network)
    net = make_network(store, **{"width": 8, "layers": 1, "heads": 2, "sharing": sharing})
    module = FusionModule(net, store, config, store.rows("train"), store.rows("valid"))
    named = {id(p): n for n, p in net.named_parameters()}
    for group in module.parameter_groups():
        for p in group["params"]:
            parts = named[id(p)].split(".")
            inside = {"encoders", "positions", "enter"} & set(parts)
            assert (group["modality"] in parts) if inside else (group["modality"] is None)
    trained, keeper = fit(store, config, None)
    again, _ = fit(store, config, None)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in trained.state_dict().items())
    assert all(row["train_t0"] == row["train_t0"] for row in keeper.history)


def test_modulated_training_that_is_broken_off_ends_as_the_unbroken_one(tmp_path, monkeypatch):
    same_when_broken_off(tmp_path, small_config(modulation=0.5, epochs=4), monkeypatch)
