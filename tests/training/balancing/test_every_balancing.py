"""What holds for every method: absent tasks, schema weights, memory by task."""

import io

import pytest
import torch
from random_stores import make_network, make_store
from torch import nn
from toy_losses import AGGREGATORS, STATEFUL, balancer, rows, step

from gnnfusion.errors import RunError, UsageError
from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.training.balancing import BALANCINGS, find_balancing
from gnnfusion.training.balancing.balancer import Split, split_parameters
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.objective import static_weights, task_losses

NAMES = (
    "static", "sum", "performance", "performance_inverse", "dwa", "random", "geometric_mean",
    "stch", "pbi", "uncertainty", "imtl_l", "famo", "gradnorm", "mean", "upgrad", "dual_proj",
    "mgda", "pcgrad", "cagrad", "imtl_g", "aligned_mtl", "nash_mtl", "fair_grad", "grad_drop",
    "grad_vac", "config", "excess_mtl", "cr_mogm", "trimmed_mean",
)  # fmt: skip
every = pytest.mark.parametrize("name", NAMES)
VALUES = torch.tensor([0.5, 2.0, 1.0, 0.2])


def test_the_registry_names_them_all():
    assert tuple(BALANCINGS) == NAMES
    for method in BALANCINGS.values():
        assert method.reference.startswith("https://")
        assert method.summary == method.summary.strip().rstrip(".")
    with pytest.raises(UsageError, match="unknown balancing 'scales'; use one of static, sum"):
        TrainConfig(balancing="scales")


@every
def test_an_absent_task_is_one_that_there_is_not(name):
    """What is made of k of T tasks is k/T of what k tasks alone give, NaN or not."""
    matrix, present = rows(4), torch.tensor([True, False, True, True])
    found = step(balancer(name, 4), matrix, VALUES, present)
    alone = step(balancer(name, 3), matrix[present], VALUES[present])
    share = 1.0 if name == "sum" else 0.75
    torch.testing.assert_close(found, share * alone)
    assert found.any()


@every
def test_a_single_present_task_gets_its_gradient(name):
    matrix, present = rows(4), torch.tensor([False, False, True, False])
    found = step(balancer(name, 4), matrix, VALUES, present)
    expected = matrix[2] / 4
    factor = {"sum": 4.0, "uncertainty": 0.5, "cagrad": 1.5}.get(name, 1.0)
    torch.testing.assert_close(found, factor * expected, rtol=1e-4, atol=1e-5)


@every
def test_no_label_at_all_is_a_step_of_zeros(name):
    found = step(balancer(name), rows(), present=torch.zeros(3, dtype=torch.bool))
    assert not found.any()


@every
def test_a_task_of_weight_zero_stops_no_other(name):
    """Its gradient is zero: MGDA, of all vectors in the hull, would choose that one."""
    weights = torch.tensor([0.5, 0.5, 0.0])
    found = step(balancer(name, weights=weights), rows(), torch.tensor([0.5, 2.0, 1.0]))
    assert found.isfinite().all()
    assert found.norm() > 0.05


@pytest.mark.parametrize("name", STATEFUL)
def test_what_is_remembered_of_an_absent_task_stays(name):
    method, draw = balancer(name), torch.Generator().manual_seed(0)

    def run(present, count):
        for _ in range(count):
            values = torch.rand(3, generator=draw) + 0.5
            step(method, torch.randn(3, 20, generator=draw), values, present)
            method.after_step(torch.where(present, values * 0.9, torch.nan))
        seen = torch.where(present, torch.rand(3, generator=draw) + 0.1, torch.nan)
        method.end_epoch(seen, seen * 0.8)

    def memory():
        """Of each task: its entries of all buffers, its numbers and their moments."""
        found = {i: [] for i in range(3)}
        for key, value in method.state_dict().items():
            for i in found:
                if isinstance(value, dict):
                    found[i] += [v.clone() for v in value["state"][i].values()]
                elif key.split(".")[-1] == str(i):
                    found[i].append(value.clone())
                elif value.ndim:
                    place = value.shape.index(3)
                    found[i].append(value.select(place, i).clone())
        return found

    run(torch.ones(3, dtype=torch.bool), 4)
    run(torch.ones(3, dtype=torch.bool), 1)
    before = memory()
    run(torch.tensor([True, True, False]), 4)
    after = memory()
    assert before[2]
    for a, b in zip(before[2], after[2], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert any(not torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))


@pytest.mark.parametrize("name", STATEFUL)
def test_saved_and_loaded_it_goes_on_as_before(name):
    draw = torch.Generator().manual_seed(0)

    def advance(method):
        values = torch.rand(3, generator=draw) + 0.5
        found = step(method, torch.randn(3, 20, generator=draw), values)
        method.after_step(values * torch.tensor([0.9, 0.7, 1.1]))
        method.end_epoch(values, values)
        return found

    method = balancer(name)
    for _ in range(4):
        advance(method)
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    other = balancer(name)
    other.load_state_dict(torch.load(file, weights_only=True))
    place = draw.get_state()
    going_on = [advance(method) for _ in range(3)]
    draw.set_state(place)
    assert all(torch.equal(a, advance(other)) for a in going_on)
    draw.set_state(place)
    fresh = balancer(name)
    assert not all(torch.equal(a, advance(fresh)) for a in going_on)


def whole_gradient(name, network, store):
    """Balanced gradient by parameter of a network on a batch in which some labels lack."""
    batch = make_batch(store, store.rows(), topology_of(store))
    losses = task_losses(network, network(batch), batch, store.masks)
    method = balancer(name, weights=static_weights(store))
    split = split_parameters(network, store)
    total = method(losses, store.masks.any(0), split)
    names, parameters = zip(*network.named_parameters(), strict=True)
    found = torch.autograd.grad(total, parameters, allow_unused=True)
    return {
        n: torch.zeros_like(p) if g is None else g
        for n, p, g in zip(names, parameters, found, strict=True)
    }


@pytest.mark.parametrize(
    "parts",
    [{"fusion": "gatv2"}, {"fusion": "late"}, {"sharing": "single"},
     {"fusion": "concat", "sharing": "ple"}],
)  # fmt: skip
def test_the_mean_of_gradients_is_static_weighting(parts):
    """In every parameter of whatever network, and with one task that has no label."""
    store = make_store(samples=12, missing=0.2)
    store.tensors["mask/t1"][:] = False
    network = make_network(store, **parts)
    static, mean = (whole_gradient(name, network, store) for name in ("static", "mean"))
    assert sum(g.norm() for g in static.values()) > 1
    for name, gradient in static.items():
        torch.testing.assert_close(mean[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_heads_learn_as_with_static_weights(name):
    store = make_store(samples=12, missing=0.2)
    network = make_network(store, seed=3)  # whose tasks are in conflict
    static, found = (whole_gradient(n, network, store) for n in ("static", name))
    heads = [n for n in static if n.startswith("heads")]
    assert len(heads) == 12
    for head in heads:
        torch.testing.assert_close(found[head], static[head])
    if name not in ("mean", "excess_mtl"):  # whose first step is the mean
        assert any(not torch.allclose(found[n], static[n]) for n in static)


def test_without_shared_parameters_each_task_is_on_its_own():
    own = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))]
    losses = torch.stack([own[0].sum(), 2 * own[1].sum()])
    total = balancer("upgrad", 2)(losses, torch.tensor([True, True]), Split((), own))
    first, second = torch.autograd.grad(total, own)
    assert torch.equal(first, torch.full((2,), 0.5))
    assert torch.equal(second, torch.ones(3))


@pytest.mark.parametrize("name", [*AGGREGATORS, "gradnorm"])
def test_a_gradient_that_is_not_finite_is_an_error(name):
    matrix = rows()
    matrix[1, 3] = torch.nan
    with pytest.raises(RunError, match="the gradient of a task is not finite"):
        step(balancer(name), matrix)


@every
def test_half_precision_that_scales_the_loss_is_refused_where_it_cannot_work(name):
    if find_balancing(name).reads_gradients:
        with pytest.raises(UsageError, match=f"'{name}' reads gradients of single tasks"):
            TrainConfig(balancing=name, precision="16-mixed")
    else:
        TrainConfig(balancing=name, precision="16-mixed")
    TrainConfig(balancing=name, precision="bf16-mixed")


@pytest.mark.parametrize("name", ["upgrad", "dual_proj"])
def test_a_solver_that_is_not_installed_is_named(name, monkeypatch):
    from torchjd import _mixins

    monkeypatch.setattr(_mixins, "find_spec", lambda package: None)
    with pytest.raises(UsageError, match=r"cannot be used: .*quadprog.* install what it needs"):
        balancer(name)
