"""A GPU gives what the CPU gives."""

import numpy as np
import pytest
import torch
from random_stores import NODES, TASKS, make_network, make_store
from small_runs import small_config, small_store

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.nn.fusion import FUSIONS
from gnnfusion.nn.sharing import SHARINGS
from gnnfusion.relatedness.estimators import ESTIMATORS
from gnnfusion.relatedness.relate import estimate
from gnnfusion.schema import Context
from gnnfusion.training.evidence import draw_shown, kin_matrix
from gnnfusion.training.fit import train
from gnnfusion.training.objective import task_losses

# cuDNN rounds the inputs of convolutions to 10 bits unless told otherwise.
torch.backends.cudnn.allow_tf32 = False
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


@pytest.mark.parametrize(
    ("fusion", "sharing"), [(f, "auto") for f in FUSIONS] + [("gatv2", s) for s in SHARINGS]
)
def test_outputs_losses_and_gradients_agree_to_1e_4(fusion, sharing):
    nodes = tuple(NODES)[: 2 if fusion == "tensor" else None]  # it refuses an outer product of nine
    rules = [{"temporal": {"modality": f"m{i}"}} for i in range(len(nodes))]
    rules += [
        {rule: {"modality": f"m{i}"}}
        for i in range(len(nodes)) for rule in ("context", "informs", "asks")
    ]  # fmt: skip
    store = make_store(
        nodes, TASKS, 40, topology=[*rules, {"relates": {}}],
        context=Context(group="g", order="o"),
    )  # fmt: skip
    shown = draw_shown(store.masks, kin_matrix(store.schema), 0.7, torch.Generator().manual_seed(0))
    found = []
    for device in ("cpu", "cuda"):
        network = make_network(store, fusion=fusion, sharing=sharing).to(device)
        network.train()
        batch = make_batch(store, store.rows(), topology_of(store)).to(device)
        told = shown if network.reads_labels else torch.zeros_like(shown)
        out = network(batch, told.to(device) if network.reads_labels else None)
        losses = task_losses(network, out, batch, (store.masks & ~told).to(device))
        losses.sum().backward()
        gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
        found.append((out, losses, gradients))
    (out, losses, gradients), other = found
    for task, value in out.items():
        torch.testing.assert_close(value, other[0][task].cpu(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses, other[1].cpu(), rtol=1e-4, atol=1e-4)
    assert gradients.keys() == other[2].keys()
    for name, value in gradients.items():
        torch.testing.assert_close(value, other[2][name].cpu(), rtol=1e-3, atol=1e-4)


def test_edges_are_made_on_the_gpu_as_on_the_cpu():
    """The rules' index arithmetic runs wherever the pointers are."""
    import dataclasses

    from gnnfusion.graphs.batch import _to
    from gnnfusion.graphs.topology import Layout

    store = make_store(("vector", "vector"), samples=20, bonds=True)
    batch = make_batch(store, store.rows(), topology_of(store))
    layout = Layout(batch.nodes, batch.sample, batch.offset, len(batch), len(batch.tasks))
    rules = [r for r in topology_of(store).rules if "given" not in r]
    topology = dataclasses.replace(topology_of(store), rules=rules)
    here, there = topology.edges(layout), topology.edges(_to(layout, "cuda"))
    for kind, edges in here.items():
        assert there[kind].index.is_cuda
        assert torch.equal(edges.index, there[kind].index.cpu())


def test_a_run_trains_and_is_read_on_either_device(tmp_path):
    store = small_store(tmp_path / "store")
    run = train(store, tmp_path / "run", small_config(device="cuda"), logs=False)
    on = {d: run.evaluate(device=d)["split"]["test"] for d in ("cpu", "cuda")}
    for task, metrics in on["cpu"].items():
        assert on["cuda"][task] == pytest.approx(metrics, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    "method", [m for m, e in ESTIMATORS.items() if e.needs in ("network", "encoders")]
)
def test_tasks_are_as_related_on_either_device(method):
    store = make_store(("vector", "bytes"), ("regression", "binary", "regression2"), 60,
                       missing=0.2, unlabelled=0.2)  # fmt: skip
    network = make_network(store, fusion="gatv2")
    graphs = [estimate(method, network.to(d), store, store.rows(), 0) for d in ("cpu", "cuda")]
    for name in ("value", "low", "high"):
        here, there = (getattr(graph, name) for graph in graphs)
        largest = np.nanmax(np.abs(graphs[0].value))
        assert largest > 0
        np.testing.assert_allclose(there, here, rtol=0.02, atol=0.005 * largest)


def test_the_linear_model_is_not_rounded_away_where_convolutions_are(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # as it is by default
    test_tasks_are_as_related_on_either_device("linearized")
