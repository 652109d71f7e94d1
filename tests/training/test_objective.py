import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_stores import TASKS, cases, make_network, make_store
from sklearn.metrics import log_loss
from small_runs import small_config, small_store

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.schema import Task
from gnnfusion.training.evidence import draw_shown, kin_matrix, scorable
from gnnfusion.training.fit import fit
from gnnfusion.training.objective import (
    constant_losses,
    sample_losses,
    static_weights,
    task_losses,
)


def batch_of(store):
    return make_batch(store, store.rows(), topology_of(store))


def step(network, store, scored, shown=None):
    """Losses of the tasks and the gradients of all parameters."""
    network.zero_grad()
    batch = batch_of(store)
    losses = task_losses(network, network(batch, shown), batch, scored)
    losses.sum().backward()
    return losses, {n: p.grad for n, p in network.named_parameters()}


# -- losses -----------------------------------------------------------------------------------


def outputs_of(kind, n=6):
    store = make_store(tasks=(kind,))
    head = make_network(store).head("t0")
    return head, head(torch.randn(n, 8)).detach()


def test_class_losses_are_the_log_loss_of_the_probabilities():
    torch.manual_seed(0)
    for kind, y in (("binary", [0, 1, 1, 0, 1, 0]), ("multiclass", [0, 1, 2, 2, 1, 0])):
        head, out = outputs_of(kind)
        target = torch.tensor(y, dtype=torch.int32)
        p = head.probabilities(out)[range(6), y]
        torch.testing.assert_close(sample_losses(head, out, target), -p.log())
        shares = head.probabilities(out).double().numpy()
        expected = log_loss(y, shares / shares.sum(1, keepdims=True))
        assert sample_losses(head, out, target).mean().item() == pytest.approx(expected, rel=1e-5)


def test_the_ordinal_loss_is_the_mean_log_loss_of_its_thresholds():
    torch.manual_seed(0)
    head, out = outputs_of("ordinal")
    y = torch.tensor([0, 1, 2, 3, 3, 0], dtype=torch.int32)
    above = out.sigmoid()
    for i in range(6):
        terms = [-math.log(above[i, k] if y[i] > k else 1 - above[i, k]) for k in range(3)]
        found = sample_losses(head, out, y)[i].item()
        assert found == pytest.approx(sum(terms) / 3, rel=1e-5)


def test_the_multilabel_loss_is_the_mean_over_labels():
    torch.manual_seed(0)
    head, out = outputs_of("multilabel")
    y = torch.randint(0, 2, (6, 3), dtype=torch.uint8)
    p = torch.where(y > 0, out.sigmoid(), 1 - out.sigmoid())
    torch.testing.assert_close(sample_losses(head, out, y), -p.log().mean(1))


def test_regression_is_half_the_squared_error_in_units_of_the_spread():
    head, out = outputs_of("regression2")
    y = torch.randn(6, 2)
    expected = 0.5 * ((head.predict(out) - y) / head.std).square().mean(1)
    torch.testing.assert_close(sample_losses(head, out, y), expected)


# -- label smoothing --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["binary", "multiclass", "ordinal"])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_smoothed_class_costs_its_share_of_what_every_class_costs(kind, share):
    """The loss is linear in the target's distribution, so it is the mean under the smoothed one."""
    torch.manual_seed(0)
    classes = {"binary": 2, "multiclass": 3, "ordinal": 4}[kind]
    head, out = outputs_of(kind)
    y = torch.randint(0, classes, (6,), dtype=torch.int32)
    every = torch.stack([sample_losses(head, out, torch.full_like(y, c)) for c in range(classes)])
    expected = (1 - share) * sample_losses(head, out, y) + share * every.mean(0)
    torch.testing.assert_close(sample_losses(head, out, y, share), expected)


def test_each_label_of_a_set_is_smoothed_as_a_yes_or_no():
    torch.manual_seed(0)
    head, out = outputs_of("multilabel")
    y = torch.randint(0, 2, (6, 3), dtype=torch.uint8)
    both = (sample_losses(head, out, y) + sample_losses(head, out, 1 - y)) / 2
    expected = 0.7 * sample_losses(head, out, y) + 0.3 * both
    torch.testing.assert_close(sample_losses(head, out, y, 0.3), expected)


def test_numbers_are_not_smoothed():
    head, out = outputs_of("regression2")
    y = torch.randn(6, 2)
    assert torch.equal(sample_losses(head, out, y, 0.3), sample_losses(head, out, y))


def test_labels_are_smoothed_in_training_and_in_no_score():
    """Nothing is learned here, so only what is measured can differ."""
    network = NetworkConfig(width=8, heads=2, dropout=0.0)
    found = []
    for share in (0.0, 0.3):
        settings = {"lr": 1e-12, "epochs": 1, "evidence": 0.0, "label_smoothing": share}
        _, keeper = fit(small_store(), small_config(network=network, **settings), None)
        found.append(keeper.history[0])
    plain, smoothed = found
    for task, kind in (("t0", "regression"), ("t1", "binary"), ("t2", "multiclass")):
        assert smoothed[f"valid_{task}"] == plain[f"valid_{task}"]
        assert (smoothed[f"train_{task}"] == plain[f"train_{task}"]) == (kind == "regression")
    assert smoothed["valid_score"] == plain["valid_score"]


# -- masks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TASKS)
def test_a_task_without_labels_costs_exactly_nothing(kind):
    """Loss zero, gradient zero (never NaN), in the presence of a task that has labels."""
    store = make_store(tasks=(kind, "regression"), missing=0.1)
    network = make_network(store)
    scored = store.masks.clone()
    scored[:, 0] = False
    losses, gradients = step(network, store, scored)
    assert losses[0].item() == 0.0
    assert losses[1].item() > 0
    for name, gradient in gradients.items():
        if name.startswith("heads.t0"):
            assert torch.equal(gradient, torch.zeros_like(gradient))
        assert gradient is None or gradient.isfinite().all()
    nothing, gradients = step(network, store, torch.zeros_like(scored))
    assert torch.equal(nothing, torch.zeros(2))
    assert all(g is None or not g.any() for g in gradients.values())


@given(cases(unlabelled=0.5), st.integers(0, 99))
@settings(max_examples=25)
def test_what_an_unlabelled_target_holds_reaches_nothing(store, seed):
    """NaN there, or any class: losses and gradients are the same to the bit, and finite."""
    network = make_network(store).train()
    kin = kin_matrix(store.schema)
    shown = draw_shown(store.masks, kin, 0.7, torch.Generator().manual_seed(seed))
    scored = scorable(store.masks, shown, kin)
    losses, gradients = step(network, store, scored, shown)
    assert losses.isfinite().all()
    tensors = dict(store.tensors)
    for task in store.schema.task_names:
        y = tensors[f"y/{task}"].clone()
        y[~store.mask(task)] = float("nan") if y.is_floating_point() else 77
        tensors[f"y/{task}"] = y
    other = GraphStore(store.meta, tensors)
    again, others = step(network, other, scored, shown)
    assert torch.equal(losses, again)
    for name, gradient in gradients.items():
        assert (gradient is None) == (others[name] is None)
        assert gradient is None or torch.equal(gradient, others[name])
        assert gradient is None or gradient.isfinite().all()


def test_the_loss_of_a_task_is_the_mean_over_its_labels():
    store = make_store(missing=0.0, unlabelled=0.5)
    network = make_network(store)
    batch = batch_of(store)
    with torch.no_grad():
        out = network(batch)
        losses = task_losses(network, out, batch, store.masks)
    for place, task in enumerate(store.schema.task_names):
        rows = store.mask(task)
        each = sample_losses(network.head(task), out[task][rows], store.target(task)[rows])
        torch.testing.assert_close(losses[place], each.mean())


def test_weights_are_shares():
    tasks = [Task(name=f"t{i}", kind="regression", weight=w) for i, w in enumerate((1, 0, 3))]
    store = make_store(tasks=["regression"] * 3)
    weighted = GraphStore(
        {**store.meta, "schema": store.schema.with_tasks(tasks).to_dict()}, store.tensors
    )
    weights = static_weights(weighted)
    assert weights.tolist() == [0.25, 0.0, 0.75]


# -- the yardstick ----------------------------------------------------------------------------


def constant_by_hand(kind, known, asked, classes):
    """Mean loss of the training rows' mean or (with half a sample of smoothing) class shares."""
    n = len(known)
    if kind.startswith("regression"):
        known, asked = known.double(), asked.double()
        return float(0.5 * (((asked - known.mean(0)) / known.std(0, correction=0)) ** 2).mean())
    if kind == "multiclass":
        share = [(float((known == c).sum()) + 0.5) / (n + 0.5 * classes) for c in range(classes)]
        return float(np.mean([-math.log(share[int(c)]) for c in asked]))
    if kind == "multilabel":
        events = [(known[:, c] > 0, asked[:, c] > 0) for c in range(classes)]
    else:
        events = [(known > k, asked > k) for k in range(classes - 1)]
    terms = []
    for before, now in events:
        p = (float(before.sum()) + 0.5) / (n + 1)
        terms += [-math.log(p if hit else 1 - p) for hit in now.tolist()]
    return float(np.mean(terms))


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("seed", range(3))
def test_the_constant_predictors_loss(kind, seed):
    store = make_store(tasks=(kind,), samples=30, seed=seed, unlabelled=0.3)
    train, rows = torch.arange(18), torch.arange(18, 30)
    network = make_network(store, fit=False)
    network.fit_statistics(store, train)
    found = constant_losses(network, store, train, rows)
    mask, y = store.mask("t0"), store.target("t0")
    classes = {"multilabel": 3, "regression": 0, "regression2": 0}.get(
        kind, len(store.classes("t0"))
    )
    expected = constant_by_hand(kind, y[train][mask[train]], y[rows][mask[rows]], classes)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_no_label_to_measure_on_is_nan_and_not_an_error():
    store = make_store(tasks=TASKS, samples=30, missing=0.5)
    network = make_network(store)
    assert constant_losses(network, store, store.rows(), torch.arange(0)).isnan().all()
