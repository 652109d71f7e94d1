"""Graph layers that are not stacks of one operator: each against its definition."""

from dataclasses import replace

import pytest
import torch
from random_stores import make_network, make_store
from torch_geometric.nn import HGTConv, RGCNConv

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.index import rank_within
from gnnfusion.graphs.topology import Edges
from gnnfusion.nn.fusion.graph import GraphFusion, LayerTypes, layer_types, relation_name
from gnnfusion.nn.fusion.hgt import HGTLayer
from gnnfusion.nn.fusion.learned_topology import SPARSITY, SPEED
from gnnfusion.nn.fusion.mtag import MTAGLayer, strongest
from gnnfusion.nn.fusion.rgcn import RGCNLayer
from gnnfusion.nn.fusion.trunk import GraphTypes

RELATIONS = (
    ("a", "near", "a"), ("a", "to", "b"), ("a", "informs", "task"), ("b", "informs", "task"),
    ("task", "relates", "task"), ("task", "asks", "b"),
)  # fmt: skip
ALL = LayerTypes(("a", "b", "task"), RELATIONS)
SIZES = {"a": 7, "b": 5, "task": 6}


def graph(seed=0, width=4):
    draw = torch.Generator().manual_seed(seed)
    h = {t: torch.randn(n, width, generator=draw).double() for t, n in SIZES.items()}
    edges = {
        kind: Edges((torch.rand(SIZES[kind[0]], SIZES[kind[2]], generator=draw) < 0.5).nonzero().T)
        for kind in RELATIONS
    }
    return h, edges


def test_a_layer_has_what_the_tasks_after_the_last_depend_on():
    types = GraphTypes(("a", "b"), ("s", "t"), RELATIONS)
    first, middle, last = layer_types(types, 3)
    assert last == LayerTypes(("task",), (RELATIONS[2], RELATIONS[3], RELATIONS[4]))
    assert first == middle == ALL
    # b informs nobody here, so no layer computes it.
    deaf = tuple(r for r in RELATIONS if r != ("b", "informs", "task"))
    first, last = layer_types(replace(types, relations=deaf), 2)
    assert first.targets == ("a", "task")
    assert first.relations == (RELATIONS[0], RELATIONS[2], RELATIONS[4])


def test_a_task_begins_at_the_mean_of_the_modalities_that_reach_it():
    """Each relation counts once, however many its edges; one that does not reach a node, not."""
    h, edges = graph()
    found = GraphFusion([]).nodes(h, edges)
    for j in range(SIZES["task"]):
        means = [
            h[kind[0]][edges[kind].index[0][edges[kind].index[1] == j]].mean(0)
            for kind in RELATIONS[2:4]
        ]
        means = [m for m in means if m.isfinite().all()]
        mean = torch.stack(means).mean(0) if means else torch.zeros(4)
        torch.testing.assert_close(found["task"][j], h["task"][j] + mean)
    for t in ("a", "b"):
        assert torch.equal(found[t], h[t])


@torch.no_grad()
def test_rgcn_is_pygs_with_a_root_and_a_norm_per_type():
    """One node type, three relations: PyG's RGCNConv with the same bases, before norm and GELU."""
    torch.manual_seed(0)
    relations = tuple(("task", name, "task") for name in "xyz")
    layer = RGCNLayer(LayerTypes(("task",), relations), 4, 0.0).double()
    conv = RGCNConv(4, 4, 3, num_bases=4).double()
    conv.weight.copy_(layer.bases)
    conv.comp.copy_(torch.stack([layer.mix[relation_name(r)] for r in relations]))
    conv.root.copy_(layer.root["task"].weight.T)
    conv.bias.copy_(layer.bias["task"].normal_())
    x = torch.randn(6, 4).double()
    index = [(torch.rand(6, 6) < 0.4).nonzero().T for _ in relations]
    kind = torch.cat([torch.full((i.shape[1],), r) for r, i in enumerate(index)])
    expected = conv(x, torch.cat(index, 1), kind)
    out = layer({"task": x}, {r: Edges(i) for r, i in zip(relations, index, strict=True)})["task"]
    act = torch.nn.functional.gelu(layer.norm["task"](expected))
    torch.testing.assert_close(out, x + act)


@torch.no_grad()
def test_hgt_is_pygs():
    """PyG keeps a skip weight too; types that nothing reaches stay as they are."""
    torch.manual_seed(0)
    layer = HGTLayer(ALL, 4, 2, 0.0).double()
    conv = HGTConv(4, 4, (list(SIZES), list(RELATIONS)), heads=2).double()
    for t in SIZES:
        conv.kqv_lin.lins[t].weight.copy_(
            layer.key_query_value[t].weight.view(3, 4, 4)[[0, 1, 2]].flatten(0, 1)
        )
        conv.kqv_lin.lins[t].bias.copy_(layer.key_query_value[t].bias)
        conv.out_lin.lins[t].weight.copy_(layer.out[t].weight)
        conv.out_lin.lins[t].bias.copy_(layer.out[t].bias)
        conv.skip[t].copy_(layer.skip[t].normal_())
    for r, kind in enumerate(RELATIONS):
        name = relation_name(kind)
        conv.p_rel[name].copy_(layer.prior[name].normal_())
        for head in range(2):
            conv.k_rel.weight[head * len(RELATIONS) + r].copy_(layer.key_map[name][head])
            conv.v_rel.weight[head * len(RELATIONS) + r].copy_(layer.value_map[name][head])
    h, edges = graph()
    expected = conv(h, {kind: e.index for kind, e in edges.items()})
    out = layer(h, edges)
    for t in SIZES:
        torch.testing.assert_close(out[t], expected[t])


@torch.no_grad()
def test_sage_adds_the_node_itself_once():
    store = make_store(missing=0.0)
    layer = make_network(store, fusion="sage").fusion.layers[0]
    h = {t: torch.randn(3, 8) for t in ("m0", "m1", "m2", "task")}
    none = {kind: Edges(torch.zeros(2, 0, dtype=torch.long)) for kind in layer.relations}
    for t, x in layer(h, none).items():
        own = layer.norm[t](layer.bias[t] + layer.root[t](h[t]))
        torch.testing.assert_close(x, h[t] + torch.nn.functional.gelu(own))


# -- MTAG -------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [1, 3, 100])
def test_a_node_keeps_its_strongest_edges(keep):
    torch.manual_seed(0)
    score, target = torch.randn(40), torch.randint(0, 6, (40,))
    kept = strongest(score, target, keep)
    for j in range(6):
        mine = target == j
        assert (kept & mine).sum() == min(keep, mine.sum())
        if 0 < (kept & mine).sum() < mine.sum():
            assert score[mine & kept].min() > score[mine & ~kept].max()


@torch.no_grad()
@pytest.mark.parametrize("keep", [1, 3, 100])
def test_mtag_attends_to_at_most_k_edges_a_node_whatever_their_relation(keep):
    """Against the dense formula over all sources of a node."""
    torch.manual_seed(0)
    layer = MTAGLayer(ALL, 4, 2, 0.0, keep=keep).double()
    h, edges = graph()
    out = layer(h, edges)
    sent = {t: layer.send[t](x).unflatten(1, (2, 2)) for t, x in h.items()}
    for t, x in h.items():
        incoming = [kind for kind in RELATIONS if kind[2] == t]
        _, weight, target = layer.attend(t, x, sent, incoming, edges)
        count = torch.bincount(target, minlength=len(x))
        available = sum(torch.bincount(edges[k].index[1], minlength=len(x)) for k in incoming)
        assert torch.equal(count, available.clamp_max(keep))
        total = torch.zeros(len(x), 2).double().index_add(0, target, weight)
        torch.testing.assert_close(total, (count > 0).double().unsqueeze(1).expand(-1, 2))
        for j in range(len(x)):
            values, scores = [], []
            for kind in incoming:
                for i in edges[kind].index[0][edges[kind].index[1] == j]:
                    value = sent[kind[0]][i]
                    both = value + layer.receive[t](x[j]).view(2, 2)
                    act = torch.nn.functional.leaky_relu(both, 0.2)
                    scores.append((act * layer.score[relation_name(kind)]).sum(1))
                    values.append(value)
            message = layer.bias[t].clone()
            if scores:
                score = torch.stack(scores)
                best = score.mean(1).topk(min(keep, len(score))).indices
                alpha = score[best].softmax(0)
                message += (alpha.unsqueeze(2) * torch.stack(values)[best]).sum(0).flatten()
            step = torch.nn.functional.gelu(layer.norm[t](message))
            torch.testing.assert_close(out[t][j], x[j] + step)


@torch.no_grad()
def test_pruned_edges_reach_nothing():
    """Sources that lose may change, as long as they still lose: not one bit differs."""
    torch.manual_seed(0)
    relation = (("a", "informs", "task"),)
    layer = MTAGLayer(LayerTypes(("task",), relation), 4, 2, 0.0, keep=2).double()
    x, task = torch.randn(6, 4).double(), torch.randn(1, 4).double()
    edges = {relation[0]: Edges(torch.stack([torch.arange(6), torch.zeros(6).long()]))}
    value = layer.send["a"](x).view(6, 2, 2)
    both = torch.nn.functional.leaky_relu(value + layer.receive["task"](task).view(2, 2), 0.2)
    score = (both * layer.score["a__informs__task"]).sum((1, 2))
    lost = rank_within(torch.zeros(6).long(), -score) >= 2
    other = torch.where(lost.unsqueeze(1), x[score.argmin()], x)
    before, after = (layer({"a": y, "task": task}, edges)["task"] for y in (x, other))
    assert not torch.equal(x, other)
    assert torch.equal(before, after)


# -- gates ------------------------------------------------------------------------------------


def made_gated(layers):
    store = make_store(
        ("vector", "vector"), samples=8, missing=0.0,
        topology=[{"full": {"source": "m0", "target": "m1"}}, {"informs": {"modality": "m0"}},
                  {"informs": {"modality": "m1"}}, {"relates": {}}],
    )  # fmt: skip
    network = make_network(store, fusion="learned_topology", layers=layers)
    return network, make_batch(store, store.rows(), topology_of(store))


@pytest.fixture
def gated():
    return made_gated(layers=2)


def set_gate(network, pair, logit):
    with torch.no_grad():
        network.fusion.slow["__".join(pair)].fill_(logit / SPEED)


def test_gates_can_be_read_off_and_lie_between_0_and_1(gated):
    network, _ = gated
    found = network.fusion.gates()
    tasks = ("t0", "t1", "t2")
    relates = {(s, t) for s in tasks for t in tasks if s != t}
    assert set(found) == {("m0", "m1")} | {(m, t) for m in ("m0", "m1") for t in tasks} | relates
    assert all(0 <= gate <= 1 for gate in found.values())
    for logit in (-50.0, -3.0, 0.0, 1.0, 3.0, 50.0):
        set_gate(network, ("informs", "m0", "t1"), logit)
        expected = min(1.0, max(0.0, 1.2 / (1 + 2.718281828**-logit) - 0.1))
        if abs(logit) == 50:
            assert network.fusion.gates()["m0", "t1"] == (logit > 0)  # exactly
        assert network.fusion.gates()["m0", "t1"] == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("pair", [("informs", "m0", "t1"), ("relates", "t2", "t1")])
def test_a_closed_gate_removes_the_message_exactly(pair):
    """The source may be anything; the other tasks still read it. Open, it is read. One layer, and
    closed gates from the other tasks, so that there is no way round through other nodes."""
    network, batch = made_gated(layers=1)
    (_, source, _) = pair
    for task in ("t0", "t2"):
        set_gate(network, ("relates", task, "t1"), -50.0)
    h = network.encode(batch)
    other = dict(h)
    if source.startswith("m"):
        other[source] = h[source] + torch.randn_like(h[source])
    else:
        tasks = h["task"].view(8, 3, -1).clone()
        tasks[:, int(source[1])] += torch.randn_like(tasks[:, 0])
        other["task"] = tasks.flatten(0, 1)
    for logit, reaches in ((-50.0, False), (0.0, True)):
        set_gate(network, pair, logit)
        a, b = network.fusion(h, batch), network.fusion(other, batch)
        assert (a[:, 1] != b[:, 1]).any(1)[1:].all() == reaches
        assert torch.equal(a[:, 1], b[:, 1]) != reaches
        assert (a[:, 0] != b[:, 0]).any(1)[1:].all()


@torch.no_grad()
def test_a_closed_gate_between_modalities_removes_the_message_exactly(gated):
    """With every other way from m0 closed, the outputs depend on it through m1 or not at all."""
    network, batch = gated
    h = network.encode(batch)
    other = h | {"m0": h["m0"] + torch.randn_like(h["m0"])}
    for task in ("t0", "t1", "t2"):
        set_gate(network, ("informs", "m0", task), -50.0)
    for logit, reaches in ((-50.0, False), (0.0, True)):
        set_gate(network, ("joins", "m0", "m1"), logit)
        assert torch.equal(network.fusion(h, batch), network.fusion(other, batch)) != reaches


@torch.no_grad()
def test_messages_scale_with_their_gate(gated):
    """Between tasks the mean of gated linear maps; from a modality its gate times its message."""
    network, batch = gated
    h, layer = network.encode(batch), network.fusion.layers[-1]
    assert set(layer.bias) == {"task"}  # the last layer, which alone is looked at here
    gates = network.fusion.gates()
    edges = network.fusion._gated(batch.edges)
    tasks = h["task"].view(8, 3, -1)
    relates = layer.convs["task__relates__task"].weight
    expected = layer.bias["task"].expand(8, 3, -1).clone()
    for t in range(3):
        for s in range(3):
            if s != t:
                expected[:, t] += gates[f"t{s}", f"t{t}"] * tasks[:, s] @ relates.T / 2
        for m in ("m0", "m1"):
            index = batch.edges[(m, "informs", "task")].index
            message = layer.convs[f"{m}__informs__task"](h[m], h["task"], index)
            expected[:, t] += gates[m, f"t{t}"] * message.view(8, 3, -1)[:, t]
    step = torch.nn.functional.gelu(layer.norm["task"](expected))
    out = layer(h, edges)["task"].view(8, 3, -1)
    torch.testing.assert_close(out, tasks + step, rtol=1e-4, atol=1e-5)


def test_the_loss_pays_for_open_gates(gated):
    network, _ = gated
    logits = SPEED * torch.stack(list(network.fusion.slow.values()))
    penalty = network.fusion.penalty()
    assert penalty.item() == pytest.approx(SPARSITY * logits.sigmoid().mean().item())
    for logit in network.fusion.slow.values():
        logit.data.fill_(50.0)
    assert network.fusion.penalty().item() == pytest.approx(SPARSITY)
    assert make_network(make_store(), fusion="gatv2").fusion.penalty() == 0


@torch.no_grad()
def test_what_the_edges_carry_already_is_not_taken_for_gates():
    """Stored edges have attributes of their own."""
    store = make_store(("vector", "vector"), samples=8, missing=0.0, bonds=True)
    network = make_network(store, fusion="learned_topology")
    batch = make_batch(store, store.rows(), topology_of(store))
    kind = ("m0", "bond", "m1")
    bare = {**batch.edges, kind: Edges(batch.edges[kind].index)}
    assert batch.edges[kind].attr is not None
    for task, out in network(batch).items():
        assert torch.equal(out, network(replace(batch, edges=bare))[task])
