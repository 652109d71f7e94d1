"""Self-supervised losses: what is hidden stays hidden, no label is read, every row is used."""

import math
from dataclasses import replace

import pytest
import torch
from random_stores import make_network, make_store
from small_runs import SPLIT, same_when_broken_off, small_config, small_store

from gnnfusion.errors import UsageError
from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion import FUSIONS
from gnnfusion.nn.sharing import SHARINGS
from gnnfusion.schema import Context
from gnnfusion.training import config, pretext
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.fit import fit, train
from gnnfusion.training.pretext import (
    PRETEXTS,
    TEMPERATURE,
    PretextLoss,
    Targets,
    deal,
    draw_one,
    info_nce,
    kept_nodes,
)


def made(name, store, **parts):
    network = make_network(store, **parts)
    torch.manual_seed(0)
    return network, PretextLoss(name, network, store, store.rows())


def batch_of(store, rows=None):
    return make_batch(store, store.rows() if rows is None else rows, topology_of(store))


def loss_at(seed, loss, network, batch):
    torch.manual_seed(seed)
    return loss(network, batch)


PARTS = [
    *({"fusion": fusion} for fusion in FUSIONS),
    *({"fusion": "concat", "sharing": sharing} for sharing in SHARINGS if sharing != "task_nodes"),
]


@pytest.mark.parametrize("name", PRETEXTS)
@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: "-".join(parts.values()))
def test_every_network_learns_from_it_without_reading_a_label(name, parts):
    store = make_store(samples=24, missing=0.2)
    network, loss = made(name, store, **parts)
    batch = batch_of(store)
    found = loss_at(1, loss, network, batch)
    found.backward()
    assert found > 0
    for modality in store.schema.modality_names:
        moved = [p.grad for p in network.encoder_parameters(modality) if p.grad is not None]
        assert any(g.abs().sum() > 0 for g in moved)
    assert all(p.grad is None for t in batch.tasks for p in network.head(t).parameters())
    blind = replace(
        batch,
        masks=torch.zeros_like(batch.masks),
        targets={t: torch.full_like(y, 7) for t, y in batch.targets.items()},
    )
    assert torch.equal(loss_at(1, loss, network, blind), found)


def test_targets_are_standardized_fixed_and_other_than_the_encoding():
    store = make_store(("vector", "tokens", "picture"), samples=40, missing=0.2)
    network = make_network(store)
    targets = Targets(network, store, store.rows())
    batch = batch_of(store)
    before = {name: targets(name, nodes) for name, nodes in batch.nodes.items()}
    for held in before.values():
        torch.testing.assert_close(held.mean(0), torch.zeros(8), atol=1e-4, rtol=0)
        torch.testing.assert_close(held.std(0, correction=0), torch.ones(8), atol=1e-3, rtol=0)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(1)
    targets.train()  # as Lightning does with all that is trained
    for name, nodes in batch.nodes.items():
        assert torch.equal(targets(name, nodes), before[name])
    assert not any(p.requires_grad for p in targets.parameters())


def test_hidden_nodes_do_not_reach_the_prediction(monkeypatch):
    """With every node hidden, other features give the same vectors; only the goals differ."""
    monkeypatch.setattr(pretext, "SHARE", 1.1)
    store = make_store(("vector", "tokens"), samples=20, missing=0.0)
    network, loss = made("masked", store)
    found = []
    monkeypatch.setattr(pretext, "squared_error", lambda a, b: found.append(a) or a.sum())
    batch = batch_of(store)
    loss_at(1, loss, network, batch)
    moved = {m: replace(n, x=n.x.flip(0)) for m, n in batch.nodes.items()}
    loss_at(1, loss, network, replace(batch, nodes=moved))
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])


def test_a_reconstructed_modality_is_not_seen():
    """Two modalities: what each is predicted from is the other, whatever it holds itself."""
    store = make_store(("vector", "tokens"), samples=20, missing=0.0)
    network, loss = made("reconstruct", store)
    (part,) = loss.parts
    seen = []
    for predictor in part.predictors.values():
        predictor.register_forward_hook(lambda m, args, out: seen.append(out.detach()))
    loss_at(1, loss, network, batch_of(store))
    other = {**store.tensors, "x/m0": store.tensors["x/m0"].flip(0)}
    part.store = GraphStore(store.meta, other)
    loss_at(1, loss, network, batch_of(part.store))
    assert torch.equal(seen[0], seen[2])  # m0 from m1, which is as it was
    assert not torch.equal(seen[1], seen[3])  # m1 from m0


def test_info_nce_is_its_formula_and_least_where_partners_are_nearest():
    torch.manual_seed(0)
    a, b = torch.randn(5, 8), torch.randn(5, 8)
    total = 0.0
    cosine = torch.nn.functional.cosine_similarity
    for i in range(5):
        row = [math.exp(cosine(a[i], b[j], 0) / TEMPERATURE) for j in range(5)]
        column = [math.exp(cosine(a[j], b[i], 0) / TEMPERATURE) for j in range(5)]
        total -= math.log(row[i] / sum(row)) + math.log(column[i] / sum(column))
    assert float(info_nce(a, b)) == pytest.approx(total / 10, rel=1e-5)
    assert info_nce(a, a) < info_nce(a, b)
    same = torch.ones(5, 8)
    assert float(info_nce(same, same)) == pytest.approx(math.log(5))


def test_hands_are_never_empty_and_draws_are_even():
    torch.manual_seed(0)
    present = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]]).bool().repeat(3000, 1)
    hand = deal(present)
    assert ((hand & present).any(1) & (~hand & present).any(1)).all()
    share = (hand & present)[2::3].float().mean(0)
    torch.testing.assert_close(share, torch.full((4,), 0.5), atol=0.05, rtol=0)
    pick = torch.bincount(draw_one(present)[1::3], minlength=4) / 3000
    torch.testing.assert_close(pick, torch.tensor([0, 1, 1, 1]) / 3, atol=0.04, rtol=0)


def test_kept_nodes_leave_units_in_their_places():
    store = make_store(("vector",), samples=12, missing=0.3)
    nodes = batch_of(store).nodes["m0"]
    torch.manual_seed(0)
    kept = torch.rand(len(nodes.x)) < 0.5
    found = kept_nodes(nodes, kept)
    assert torch.equal(found.x, nodes.x[kept])
    assert torch.equal(found.unit, nodes.unit[kept])
    assert len(found.ptr) == len(nodes.ptr)


@pytest.mark.parametrize("name", PRETEXTS)
def test_samples_that_offer_nothing_cost_nothing(name):
    store = make_store(samples=8, missing=0.0)
    network, loss = made(name, store)
    empty = batch_of(store, torch.tensor([0]))  # the first sample has no node at all
    found = loss_at(0, loss, network, empty)
    found.backward()
    assert found == 0


@pytest.mark.parametrize("name", PRETEXTS)
def test_context_brings_nodes_and_nothing_to_guess(name):
    context = Context(group="g", order="o", before=1, after=1)
    store = make_store(samples=20, missing=0.2, context=context)
    network, loss = made(name, store)
    assert loss_at(1, loss, network, batch_of(store)).isfinite()


@pytest.mark.parametrize("name", PRETEXTS)
def test_rows_without_any_label_change_what_is_learned(name):
    """Other features of unlabelled rows: the same weights without a pretext, others with one."""
    store = small_store(tasks=("regression", "binary"), missing=0.0)
    rows = torch.arange(20)  # of the 40 training rows
    tensors = dict(store.tensors)
    for task in store.schema.task_names:
        mask = tensors[f"mask/{task}"].clone()
        mask[rows] = 0
        tensors[f"mask/{task}"] = mask
    # Swapped within the unlabelled rows, so that all means and spreads stay what they are.
    end = int(store.nodes("m0").ptr[20])
    x = tensors["x/m0"].clone()
    x[:end] = x[:end].flip(0)
    pair = GraphStore(store.meta, tensors), GraphStore(store.meta, {**tensors, "x/m0": x})
    network = NetworkConfig(width=8, layers=1, heads=2, dropout=0.0)
    for kind, same in (("none", True), (name, False)):
        settings = small_config(epochs=1, pretext=kind, network=network)
        a, b = (fit(s, settings, None)[0].state_dict() for s in pair)
        close = all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)
        assert close == same


def test_a_run_with_pretext_resumes_and_its_weights_are_the_network_s(tmp_path, monkeypatch):
    whole = same_when_broken_off(tmp_path, small_config(pretext="masked", epochs=4), monkeypatch)
    assert not [k for k in whole.network("cpu").state_dict() if "pretext" in k]
    assert len(SPLIT) == len(whole.store().split)


@pytest.mark.parametrize("name", PRETEXTS)
def test_groups_of_tasks_with_task_nodes_have_one_each(name):
    store = make_store(samples=24, missing=0.2)
    network, loss = made(name, store, groups=(("t0", "t2"),))
    assert network.reads_labels
    assert len(loss.parts) == 2
    loss_at(1, loss, network, batch_of(store)).backward()
    for body in network.networks.values():
        assert any(p.grad is not None for p in body.encoders.parameters())


@pytest.mark.parametrize(
    "settings", [{"pretext": "contrastive"}, {"pretext": "reconstruct"}, {"modulation": 0.5}]
)
def test_what_needs_two_modalities_says_so(settings, tmp_path):
    store = make_store(("vector",), samples=len(SPLIT), split=SPLIT)
    with pytest.raises(UsageError, match="needs training rows with two modalities"):
        train(store, tmp_path / "run", small_config(**settings), logs=False)
    assert not (tmp_path / "run").exists()


def test_names_are_those_of_the_settings():
    assert ("none", *PRETEXTS) == config.PRETEXTS
    with pytest.raises(UsageError, match="unknown pretext 'jigsaw'; use none, masked"):
        TrainConfig(pretext="jigsaw")
    with pytest.raises(UsageError, match="pretext_weight must not be negative"):
        TrainConfig(pretext_weight=-1.0)
