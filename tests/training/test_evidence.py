"""Known labels as evidence: only hidden labels are scored, and nothing scored is ever read."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_stores import make_network, make_store

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.fusion import FUSIONS
from gnnfusion.schema import Context
from gnnfusion.training.evidence import (
    draw_shown,
    families,
    kin_matrix,
    others_shown,
    scorable,
)


@st.composite
def kinships(draw):
    """A symmetric, reflexive relation of tasks and the known labels of some samples."""
    tasks, samples = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    kin = torch.eye(tasks, dtype=torch.bool)
    for i, j in itertools.combinations(range(tasks), 2):
        kin[i, j] = kin[j, i] = draw(st.sampled_from([False, False, True]))
    seed = draw(st.integers(0, 10**6))
    masks = torch.rand(samples, tasks, generator=torch.Generator().manual_seed(seed)) < 0.7
    return kin, masks, seed


def draw_of(masks, kin, share, seed):
    return draw_shown(masks, kin, share, torch.Generator().manual_seed(seed))


@given(kinships(), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=200)
def test_draws_keep_the_rules(case, share):
    kin, masks, seed = case
    shown = draw_of(masks, kin, share, seed)
    scored = scorable(masks, shown, kin)
    assert not (shown & ~masks).any(), "only known labels are shown"
    assert not (scored & shown).any(), "what is shown is not scored"
    assert not (scored & ~masks).any(), "only known labels are scored"
    for b, j in scored.nonzero().tolist():
        assert not (shown[b] & kin[j]).any(), "kin of a scored label are hidden"
    assert (scored.any(1) == masks.any(1)).all(), "something is left to score wherever there can be"
    family = families(kin)
    for b, f in itertools.product(range(len(masks)), range(int(family.max()) + 1)):
        known = masks[b] & (family == f)
        assert shown[b][known].all() or not shown[b][known].any(), "families stay together"
    if share == 0:
        assert torch.equal(scored, masks)
    assert torch.equal(shown, draw_of(masks, kin, share, seed))


@given(kinships())
def test_families_are_the_connected_components(case):
    kin, _, _ = case
    family = families(kin).tolist()
    for i in range(len(kin)):
        reached, pending = set(), [i]
        while pending:
            here = pending.pop()
            if here not in reached:
                reached.add(here)
                pending += kin[here].nonzero().squeeze(1).tolist()
        assert {j for j, f in enumerate(family) if f == family[i]} == reached


@given(kinships())
def test_scorable_is_its_definition(case):
    kin, masks, seed = case
    shown = masks & (torch.rand(masks.shape, generator=torch.Generator().manual_seed(seed)) < 0.5)
    scored = scorable(masks, shown, kin)
    for b, j in itertools.product(range(len(masks)), range(len(kin))):
        betrayed = any(shown[b, i] and kin[i, j] for i in range(len(kin)))
        assert scored[b, j] == (masks[b, j] and not betrayed)


def test_rates_are_uniform_and_a_share_of_samples_shows_nothing():
    """Of 5 unrelated tasks, all known: each number 0 .. 5 would be shown by 1/6 of `share`; all 5
    are never shown (nothing would be left to score), so these show none."""
    masks, kin = torch.ones(60_000, 5, dtype=torch.bool), torch.eye(5, dtype=torch.bool)
    counts = torch.bincount(draw_of(masks, kin, 0.5, 0).sum(1), minlength=6) / 60_000
    expected = torch.tensor([0.5 + 0.5 * 2 / 6, 1 / 12, 1 / 12, 1 / 12, 1 / 12, 0])
    assert (counts - expected).abs().max() < 4 * (0.25 / 60_000) ** 0.5 * 2
    assert counts[5] == 0


def test_others_shown_is_all_but_kin():
    kin = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    masks = torch.tensor([[1, 1, 1], [0, 1, 0]], dtype=torch.bool)
    assert others_shown(masks, kin, 0).tolist() == [[False, False, True], [False] * 3]
    assert others_shown(masks, kin, 2).tolist() == [[True, True, False], [False, True, False]]


# -- the leak test ----------------------------------------------------------------------------

TASKS = ("regression", "binary", "regression2", "multiclass", "ordinal", "multilabel", "regression")
DERIVED = {"t1": ("t0",), "t2": ("t0",), "t6": ("t3", "t5")}


def leaky_store(seed):
    """Everything through which a label could travel: asks, context, residuals, derived tasks."""
    names = ("m0", "m1")
    rules = [{"temporal": {"modality": "m0"}}, {"full": {"source": "m0", "target": "m1"}}]
    rules += [{rule: {"modality": m}} for rule in ("context", "informs", "asks") for m in names]
    return make_store(
        ("vector", "tokens"), TASKS, samples=6, seed=seed, missing=0.2, unlabelled=0.2,
        topology=[*rules, {"relates": {}}], derived=DERIVED, split=[0] * 6,
        context=Context(group="g", order="o", before=1, after=1),
    )  # fmt: skip


def with_other_labels(store, tasks, rows):
    """The store with different labels of these tasks (bool ``[T]``) in these rows."""
    tensors = dict(store.tensors)
    for place, task in enumerate(store.schema.tasks):
        if not tasks[place]:
            continue
        y = tensors[f"y/{task.name}"].clone()
        if task.kind == "regression":
            y[rows] += 3.0
        else:
            classes = 2 if task.kind == "multilabel" else len(store.classes(task.name))
            y[rows] = (y[rows] + 1) % classes
        tensors[f"y/{task.name}"] = y
    return GraphStore(store.meta, tensors)


def outputs(network, store, shown):
    with torch.no_grad():
        return network(make_batch(store, store.rows(), topology_of(store)), shown)


@pytest.mark.parametrize("fusion", [n for n, f in FUSIONS.items() if f.uses_task_nodes])
@pytest.mark.parametrize("seed", range(2))
def test_no_scored_label_reaches_its_prediction_in_training(fusion, seed):
    """Neither it nor any label of its kin, which could be computed from it: not one bit."""
    store = leaky_store(seed)
    network = make_network(store, layers=3, fusion=fusion, seed=seed)
    kin = kin_matrix(store.schema)
    shown = draw_of(store.masks, kin, 1.0, seed)
    scored = scorable(store.masks, shown, kin)
    assert shown.any()
    assert scored.any()
    before = outputs(network, store, shown)
    for place, task in enumerate(store.schema.task_names):
        for row in scored[:, place].nonzero().squeeze(1).tolist():
            other = with_other_labels(store, kin[place], [row])
            after = outputs(network, other, shown)
            assert torch.equal(before[task][row], after[task][row])
    # All at once: no scored label reaches any scored prediction, nor do those of other samples.
    tensors = store
    for place in range(len(TASKS)):
        only = torch.arange(len(TASKS)) == place
        tensors = with_other_labels(tensors, only, scored[:, place])
    after = outputs(network, tensors, shown)
    for place, task in enumerate(store.schema.task_names):
        rows = scored[:, place]
        assert torch.equal(before[task][rows], after[task][rows])


@pytest.mark.parametrize("seed", range(4))
def test_no_scored_label_reaches_its_prediction_in_evaluation(seed):
    store = leaky_store(seed)
    network = make_network(store, layers=3, seed=seed)
    kin = kin_matrix(store.schema)
    for place, task in enumerate(store.schema.task_names):
        shown = others_shown(store.masks, kin, place)
        before = outputs(network, store, shown)[task]
        after = outputs(network, with_other_labels(store, kin[place], slice(None)), shown)[task]
        assert torch.equal(before, after)


def test_a_shown_label_does_reach_the_others():
    """The counterpart: the same perturbation of a label that is shown is seen."""
    store = leaky_store(0)
    network = make_network(store, layers=3)
    kin = kin_matrix(store.schema)
    shown = others_shown(store.masks, kin, 0)
    before = outputs(network, store, shown)["t0"]
    for other in (~kin[0]).nonzero().squeeze(1).tolist():
        rows = store.masks[:, other].nonzero().squeeze(1)
        only = torch.arange(len(TASKS)) == other
        after = outputs(network, with_other_labels(store, only, rows), shown)["t0"]
        assert (before != after).any(1)[rows].all()
        # ... and only in the sample whose label it is.
        others = torch.ones(len(store), dtype=torch.bool)
        others[rows] = False
        assert torch.equal(before[others], after[others])


def test_hidden_and_missing_are_one_state():
    """Taking a hidden label out of the store, or showing nothing at all, is the same to it."""
    store = leaky_store(1)
    network = make_network(store, layers=3)
    none = torch.zeros_like(store.masks)
    hidden = outputs(network, store, none)
    tensors = {n: t.clone() for n, t in store.tensors.items()}
    for task in store.schema.task_names:
        tensors[f"mask/{task}"].zero_()
        tensors[f"y/{task}"].zero_()
    missing = outputs(network, GraphStore(store.meta, tensors), None)
    for task in hidden:
        assert torch.equal(hidden[task], missing[task])
