"""The mathematics of each architecture."""

from dataclasses import replace

import pytest
import torch
from outputs import run, with_tasks
from random_stores import make_network, make_store

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion import FUSIONS
from gnnfusion.nn.fusion.learned_topology import SPARSITY, SPEED
from gnnfusion.nn.fusion.pooling import pool_slots
from gnnfusion.nn.network import network_for
from gnnfusion.nn.sharing.cross_stitch import CrossStitchUnit
from gnnfusion.nn.sharing.private import PRICE, overlap
from gnnfusion.nn.sharing.reader import read_once

kinds = pytest.mark.parametrize("fusion", ["concat", "gatv2"])
TASKS = ("t0", "t1", "t2")


@pytest.fixture(scope="module")
def store():
    return make_store(samples=12, missing=0.4)


def made(store, fusion, sharing, **settings):
    """An architecture in double precision, encoded nodes, and the batch of all samples."""
    network = make_network(store, fusion=fusion, sharing=sharing, **settings)
    batch = make_batch(store, store.rows(), topology_of(store))
    with torch.no_grad():
        h = {kind: x.double() for kind, x in network.encode(batch).items()}
    return network.fusion.double(), h, batch


def reached(network, out):
    """Names of the parameters that get a gradient other than zero from these outputs."""
    network.zero_grad()
    out.square().sum().backward(retain_graph=True)
    return {n for n, p in network.named_parameters() if p.grad is not None and p.grad.any()}


# -- hard: one node to read -------------------------------------------------------------------


@pytest.mark.parametrize("fusion", [name for name, f in FUSIONS.items() if f.uses_task_nodes])
def test_hard_over_a_graph_is_the_fusion_with_one_task_node(store, fusion):
    """What the graph of a schema with one task gives, whatever other tasks there are."""
    alone = with_tasks(store, store.schema.tasks[:1])
    nodes = make_network(alone, fusion=fusion, sharing="task_nodes")
    hard = make_network(store, fusion=fusion, sharing="hard")
    values = hard.state_dict()
    for name, value in nodes.state_dict().items():
        name = name.replace("__t0", "__readout")  # gates by task
        name = name.replace("fusion.", "fusion.reader.trunk.")
        name = {"task_embedding.t0": "fusion.reader.node"}.get(name, name)
        if not name.startswith("labels"):
            assert name in values
            values[name] = value
    hard.load_state_dict(values)
    rows = range(12)
    torch.testing.assert_close(run(hard, store, rows)["t0"], run(nodes, alone, rows)["t0"])


def test_the_node_to_read_has_no_labels_and_no_edge_to_another(store):
    batch = make_batch(store, store.rows(), topology_of(store))
    one = read_once(batch)
    assert one.tasks == ("readout",)
    assert not one.targets
    assert one.masks.shape == (12, 0)
    assert one.edges["task", "relates", "task"].index.shape == (2, 0)
    assert one.edges["m0", "informs", "task"].index[1].tolist() == batch.node_sample("m0").tolist()


# -- cross-stitch -----------------------------------------------------------------------------


def identity(unit):
    with torch.no_grad():
        for t, weights in unit.weights.items():
            for s, alpha in weights.items():
                alpha.fill_(float(s == t))


@kinds
@pytest.mark.parametrize("levels", [1, 3])
def test_cross_stitch_at_identity_is_single_trunks(store, fusion, levels):
    """Vector for vector, and no task's loss reaches another's trunk or layers."""
    net, h, batch = made(store, fusion, "cross_stitch", levels=levels)
    for unit in net.units:
        identity(unit)
    out, one = net(h, batch), read_once(batch)
    for place, task in enumerate(TASKS):
        y = net.trunks[task](h, one)
        for layers in net.layers:
            y = layers[task](y)
        torch.testing.assert_close(out[:, place], y)
        names = reached(net, out[:, place])
        kept = {n for n in names if not n.startswith("units")}
        assert kept
        assert all(task in n.split(".") for n in kept)


@kinds
def test_cross_stitch_mixes_feature_by_feature(store, fusion):
    net, h, batch = made(store, fusion, "cross_stitch", levels=1)
    alpha = torch.stack([torch.stack([net.units[0].weights[t][s] for s in TASKS]) for t in TASKS])
    x = torch.stack([net.trunks[t](h, read_once(batch)) for t in TASKS], 1)
    torch.testing.assert_close(net(h, batch), torch.einsum("tsw,bsw->btw", alpha, x))


@pytest.mark.parametrize("tasks", [("a",), ("a", "b"), TASKS])
def test_stitches_begin_as_means_that_favour_the_task_itself(tasks):
    """So equal vectors stay as they are."""
    x = torch.randn(5, 4)
    unit = CrossStitchUnit(tasks, 4)
    for t, y in unit(dict.fromkeys(tasks, x)).items():
        if len(tasks) > 1:
            torch.testing.assert_close(y, x)
            assert unit.weights[t][t].min() > 0.8
        else:
            torch.testing.assert_close(y, unit.weights[t][t] * x)


# -- mixtures of experts ----------------------------------------------------------------------


@kinds
def test_mmoe_with_one_expert_is_hard(store, fusion):
    net, h, batch = made(store, fusion, "mmoe", experts=1)
    hard, _, _ = made(store, fusion, "hard")
    (hard.reader if fusion == "gatv2" else hard).load_state_dict(
        (net.experts["0"] if fusion == "gatv2" else net.experts["0"].trunk).state_dict()
    )
    torch.testing.assert_close(net(h, batch), hard(h, batch))


@kinds
@torch.no_grad()
def test_mmoe_is_its_definition(store, fusion):
    """Gates sum to one over experts, and differ from task to task and from sample to sample."""
    net, h, batch = made(store, fusion, "mmoe", experts=3)
    gates, one = net.weights(h, batch), read_once(batch)
    torch.testing.assert_close(gates.sum(2), torch.ones(12, 3).double())
    means, present = pool_slots(h, batch)
    for row in range(12):
        u = net.pool.bias + sum(
            linear(means[row, s])
            for s, linear in enumerate(net.pool.maps.values())
            if present[row, s]
        )
        for t, task in enumerate(TASKS):
            torch.testing.assert_close(gates[row, t], net.gates[task](u).softmax(0))
    experts = torch.stack([e(h, one) for e in net.experts.values()], 1)
    torch.testing.assert_close(net(h, batch), torch.einsum("bte,bew->btw", gates, experts))
    assert not torch.allclose(gates[:, 0], gates[:, 1])
    assert gates.std(0).min() > 0


@kinds
@torch.no_grad()
def test_ple_with_one_level_is_cgc(store, fusion):
    """A task's vector mixes the shared experts and its own, with gates that sum to one."""
    net, h, batch = made(store, fusion, "ple", experts=2, levels=1)
    out, one = net(h, batch), read_once(batch)
    u = net.pool(*pool_slots(h, batch))
    assert net.levels[0].shared is None
    for place, task in enumerate(TASKS):
        gate = net.levels[0].own[task].weights(u)
        assert gate.shape == (12, 3)
        torch.testing.assert_close(gate.sum(1), torch.ones(12).double())
        experts = [net.shared_trunks[i](h, one) for i in "01"] + [net.trunks[task](h, one)]
        expected = sum(gate[:, [e]] * x for e, x in enumerate(experts))
        torch.testing.assert_close(out[:, place], expected)


@kinds
@torch.no_grad()
def test_ple_reads_each_level_off_the_one_before(store, fusion):
    """Two levels by hand; the shared gate between them mixes the experts of all tasks."""
    net, h, batch = made(store, fusion, "ple", experts=2, levels=2)
    one, u = read_once(batch), net.pool(*pool_slots(h, batch))
    shared = [net.shared_trunks[i](h, one) for i in "01"]
    own = {t: net.trunks[t](h, one) for t in TASKS}
    first, second = net.levels
    weights = first.shared.weights(u)
    torch.testing.assert_close(weights.sum(1), torch.ones(12).double())
    everything = [*shared, *own.values()]
    x_shared = sum(weights[:, [e]] * x for e, x in enumerate(everything))
    for place, task in enumerate(TASKS):
        x = first.own[task](u, shared, {task: own[task]})
        experts = [net.shared_layers[0][i](x_shared) for i in "01"] + [net.layers[0][task](x)]
        gate = second.own[task].weights(x)
        expected = sum(gate[:, [e]] * y for e, y in enumerate(experts))
        torch.testing.assert_close(net(h, batch)[:, place], expected)


@kinds
@pytest.mark.parametrize("levels", [1, 2])
def test_no_other_task_reaches_a_tasks_experts_on_the_last_level_of_ple(store, fusion, levels):
    """Nor its gates; below, the shared gates let every task reach all (hence: progressive)."""
    net, h, batch = made(store, fusion, "ple", experts=2, levels=levels)
    out = net(h, batch)
    last = "trunks" if levels == 1 else "layers"
    for place, task in enumerate(TASKS):
        names = [n.split(".") for n in reached(net, out[:, place])]
        experts = [n for n in names if n[0] == last]
        gates = [n for n in names if n[0] == "levels" and n[1] == str(levels - 1)]
        for found in (experts, gates):
            assert found
            assert all(task in name for name in found)
        owners = {name[1] for name in names if name[0] == "trunks"}
        assert owners == ({task} if levels == 1 else set(TASKS))
        assert any(name[0].startswith("shared") for name in names)


# -- masks ------------------------------------------------------------------------------------


@kinds
@torch.no_grad()
def test_mtan_with_masks_of_ones_is_hard(store, fusion):
    net, h, batch = made(store, fusion, "mtan")
    z = net.reader(h, read_once(batch))
    out = net(h, batch)
    assert ((out / z.unsqueeze(1) > 0) & (out / z.unsqueeze(1) < 1)).all()
    assert not torch.allclose(out[:, 0], out[:, 1])
    for attend in net.attend.values():
        attend[2].weight.zero_()
        attend[2].bias.fill_(50.0)  # a sigmoid of 1
    hard, _, _ = made(store, fusion, "hard")
    if fusion == "gatv2":
        hard.reader.load_state_dict(net.reader.state_dict())
    else:
        hard.load_state_dict(net.reader.trunk.state_dict())
    torch.testing.assert_close(net(h, batch), hard(h, batch))


# -- private subspaces ------------------------------------------------------------------------


@kinds
@torch.no_grad()
def test_a_tasks_vector_is_what_is_shared_beside_what_is_its_own(store, fusion):
    net, h, batch = made(store, fusion, "private")
    out, z = net(h, batch), net.reader(h, read_once(batch))
    for place, task in enumerate(TASKS):
        torch.testing.assert_close(out[:, place, :4], net.shared(z))
        torch.testing.assert_close(out[:, place, 4:], net.private[task](z))


def test_overlap_is_the_share_of_one_space_that_lies_in_the_other():
    torch.manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(8, 8).double())
    a, b = q[:4], q[4:]
    scale = 10 * torch.rand(4, 1).double()
    assert overlap(a, scale * b).item() == pytest.approx(0)
    assert overlap(a, scale * a).item() == pytest.approx(1)
    inside = torch.randn(3, 4).double() @ a
    assert overlap(a, inside).item() == pytest.approx(1)
    angle = torch.tensor(0.3).double()
    assert overlap(a, angle.cos() * a + angle.sin() * b).item() == pytest.approx(angle.cos() ** 2)


def test_the_penalty_alone_makes_private_features_orthogonal(store):
    """It can reach zero, for each of the tasks, since both halves fit the width."""
    net, _, _ = made(store, "concat", "private")
    assert net.penalty() > 0.1 * PRICE
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        net.penalty().backward()
        optimizer.step()
    assert net.penalty() < 1e-3 * PRICE
    for own in net.private.values():
        cosine = torch.nn.functional.cosine_similarity(
            net.shared.weight[:, None], own.weight[None], dim=2
        )
        assert cosine.abs().max() < 0.1


# -- single -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", ["concat", "late", "gatv2", "transformer"])
def test_the_loss_of_a_task_reaches_its_own_network_alone(store, fusion):
    network = make_network(store, fusion=fusion, sharing="single")
    out = network(make_batch(store, store.rows(), topology_of(store)))
    for task in TASKS:
        names = {n.split(".")[1] for n in reached(network, out[task])}
        assert names == {task}


@kinds
def test_a_single_network_is_the_network_of_a_schema_with_that_task_alone(fusion):
    """Weight for weight when it is made, and output for output, dropout included."""
    store = make_store(samples=12, derived={"t2": ("t0",)})
    config = NetworkConfig(width=8, heads=2, dropout=0.5, fusion=fusion, sharing="single")
    torch.manual_seed(0)
    network = network_for(store, config).train()
    for task in store.schema.tasks:
        own = with_tasks(store, [replace(task, derived_from=())])
        torch.manual_seed(0)
        alone = network_for(own, replace(config, sharing="hard")).train()
        mine = network.networks[task.name].state_dict()
        assert mine.keys() == alone.state_dict().keys()
        assert all(torch.equal(v, mine[n]) for n, v in alone.state_dict().items())
        found = []
        for net, data in ((network, store), (alone, own)):
            torch.manual_seed(3)
            found.append(run(net, data, range(12))[task.name])
        assert torch.equal(*found)


def test_statistics_reach_every_network(store):
    network = make_network(store, sharing="single")
    head, target = network.head("t0"), store.target("t0")[store.mask("t0")]
    torch.testing.assert_close(head.mean, target.mean(0))
    means = [n.encoders["m0"].standardize.mean for n in network.networks.values()]
    torch.testing.assert_close(means[0], store.nodes("m0").x.mean(0))
    assert torch.equal(means[0], means[1])


# -- what trunks add to the loss --------------------------------------------------------------


@pytest.mark.parametrize("sharing", ["hard", "single", "cross_stitch", "mmoe", "ple", "mtan"])
def test_many_trunks_cost_what_one_costs(store, sharing):
    """The mean over trunks, which each have a gate per modality, of how open their gates are."""
    network = make_network(store, fusion="learned_topology", sharing=sharing)
    slow = [p for n, p in network.named_parameters() if ".slow." in n]
    expected = SPARSITY * (SPEED * torch.stack(slow)).sigmoid().mean()
    torch.testing.assert_close(network.penalty(), expected)
    assert make_network(store, fusion="concat", sharing=sharing).penalty() == 0
