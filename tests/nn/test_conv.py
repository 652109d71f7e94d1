"""Each operator against its formula on dense matrices."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import leaky_relu

from gnnfusion.errors import UsageError
from gnnfusion.graphs.topology import Edges
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.conv import OPERATORS, make_conv
from gnnfusion.nn.conv.gcn import BipartiteGCN
from gnnfusion.nn.fusion.graph import TypedLayer, relation_name, typed_layers, uniform_message
from gnnfusion.nn.fusion.trunk import GraphTypes


def graph(n, m, seed, width=4, share=0.5):
    """Random features and a random simple bipartite graph, as edges and as a dense matrix."""
    draw = torch.Generator().manual_seed(seed)
    dense = torch.rand(n, m, generator=draw) < share
    source = torch.randn(n, width, generator=draw, dtype=torch.double)
    target = torch.randn(m, width, generator=draw, dtype=torch.double)
    return source, target, dense.nonzero().T, dense


def make(name, width=4, heads=2, seed=0):
    torch.manual_seed(seed)
    return make_conv(name, width, heads).double()


SIZES = (st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))


@given(*SIZES)
@settings(max_examples=40)
def test_gcn_is_its_formula(n, m, seed):
    """m = D_t^-1/2 A^T D_s^-1/2 X W, with 0 for a node without edges."""
    source, target, index, dense = graph(n, m, seed)
    conv = make("gcn")
    a = dense.double()
    norm = (a.sum(1, keepdim=True) * a.sum(0, keepdim=True)).clamp_min(1).rsqrt()
    expected = (a * norm).T @ (source @ conv.lin.weight.T)
    torch.testing.assert_close(conv(source, target, index), expected)


def dense_attention(scores, dense):
    """Softmax of ``[n, m, heads]`` over the sources of each target; 0 where there is no edge."""
    masked = torch.where(dense.unsqueeze(2), scores.exp(), torch.zeros_like(scores))
    return masked / masked.sum(0, keepdim=True).clamp_min(1e-300)


def gat_scores(conv, source, target):
    c = conv.conv
    a = (c.lin_src(source).view(len(source), 2, -1) * c.att_src).sum(2)
    b = (c.lin_dst(target).view(len(target), 2, -1) * c.att_dst).sum(2)
    return leaky_relu(a.unsqueeze(1) + b.unsqueeze(0), 0.2), c.lin_src(source)


def gatv2_scores(conv, source, target):
    c = conv.conv
    a = c.lin_l(source).view(len(source), 1, 2, -1)
    b = c.lin_r(target).view(1, len(target), 2, -1)
    return (leaky_relu(a + b, 0.2) * c.att).sum(3), c.lin_l(source)


@pytest.mark.parametrize(("name", "scores"), [("gat", gat_scores), ("gatv2", gatv2_scores)])
@given(*SIZES)
@settings(max_examples=40)
def test_attention_is_its_formula(name, scores, n, m, seed):
    source, target, index, dense = graph(n, m, seed)
    conv = make(name)
    raw, values = scores(conv, source, target)
    weights = dense_attention(raw, dense)
    expected = torch.einsum("nmh,nhc->mhc", weights, values.view(n, 2, -1)).flatten(1)
    torch.testing.assert_close(conv(source, target, index), expected)
    found = conv.attention(source, target, index)
    torch.testing.assert_close(found, weights[index[0], index[1]])
    total = torch.zeros(m, 2, dtype=torch.double).index_add_(0, index[1], found)
    torch.testing.assert_close(total, dense.any(0).double().unsqueeze(1).expand(-1, 2))


def test_gatv2_may_rank_sources_differently_for_each_target_and_gat_may_not():
    """The point of GATv2 (arXiv:2105.14491)."""
    source, target, _, _ = graph(6, 30, 0)
    index = torch.ones(6, 30).nonzero().T
    orders = {}
    for name in ("gat", "gatv2"):
        weights = make(name).attention(source, target, index)[:, 0].view(6, 30)
        orders[name] = len({tuple(column.argsort().tolist()) for column in weights.T})
    assert orders["gat"] == 1
    assert orders["gatv2"] > 1


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(("n", "m"), [(3, 4), (0, 4), (3, 0), (0, 0)])
def test_no_edges_give_exactly_zero(name, n, m):
    source, target, _, _ = graph(n, m, 0)
    out = make(name)(source, target, torch.zeros(2, 0, dtype=torch.long))
    assert out.shape == (m, 4)
    assert torch.equal(out, torch.zeros(m, 4, dtype=torch.double))


@pytest.mark.parametrize("name", OPERATORS)
def test_a_target_without_edges_gets_exactly_zero_among_others(name):
    source, target, _, dense = graph(5, 6, 3)
    dense[:, 2] = False
    out = make(name)(source, target, dense.nonzero().T)
    assert torch.equal(out[2], torch.zeros(4, dtype=torch.double))
    assert (out[dense.any(0)] != 0).any(1).all()


@pytest.mark.parametrize("name", OPERATORS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_order_of_edges_and_nodes_means_nothing(name, seed):
    """Equivariance: permuted targets permute the messages; permuted sources and edges do nothing"""
    source, target, index, _ = graph(5, 4, seed)
    conv = make(name)
    draw = torch.Generator().manual_seed(seed)
    p, q = torch.randperm(5, generator=draw), torch.randperm(4, generator=draw)
    e = torch.randperm(index.shape[1], generator=draw)
    moved = torch.stack([p.argsort()[index[0, e]], q.argsort()[index[1, e]]])
    out = conv(source[p], target[q], moved)
    torch.testing.assert_close(out, conv(source, target, index)[q])


@pytest.mark.parametrize("name", OPERATORS)
def test_gradients_are_the_numerical_ones(name):
    source, target, index, _ = graph(3, 3, 1)
    conv = make(name)

    def message(x, y, *weights):
        names = [n for n, _ in conv.named_parameters()]
        return torch.func.functional_call(
            conv, dict(zip(names, weights, strict=True)), (x, y, index)
        )

    inputs = [source, target, *[p.detach().clone() for p in conv.parameters()]]
    assert torch.autograd.gradcheck(message, tuple(t.requires_grad_() for t in inputs))


@given(*SIZES)
@settings(max_examples=40)
def test_sage_is_its_formula(n, m, seed):
    """m = W times the mean of the sources, with 0 for a node without edges."""
    source, target, index, dense = graph(n, m, seed)
    conv = make("sage")
    a = dense.double()
    mean = (a.T @ source) / a.sum(0).clamp_min(1).unsqueeze(1)
    torch.testing.assert_close(conv(source, target, index), mean @ conv.conv.lin_l.weight.T)


def test_gcn_takes_relations_whose_ends_differ_in_number():
    """A single edge joins nodes of degree 1, so its message is W x."""
    conv, source = BipartiteGCN(4), torch.randn(7, 4)
    out = conv(source, torch.randn(2, 4), torch.tensor([[6], [1]]))
    torch.testing.assert_close(out[1], conv.lin.weight @ source[6])
    assert torch.equal(out[0], torch.zeros(4))


@pytest.mark.parametrize("name", ["gat", "gatv2"])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_uniform_message_is_the_mean_of_the_edges_values(name, seed):
    source, target, index, dense = graph(4, 5, seed)
    conv = make(name)
    value = (conv.conv.lin_src if name == "gat" else conv.conv.lin_l)(source)
    out = uniform_message(conv, source, target, index)
    for j in range(5):
        chosen = value[dense[:, j]]
        expected = chosen.mean(0) if len(chosen) else torch.zeros(4, dtype=torch.double)
        torch.testing.assert_close(out[j], expected)


def test_uniform_attention_holds_within_the_block_alone():
    torch.manual_seed(0)
    kind = ("task", "relates", "task")
    types = GraphTypes((), ("t",), (kind,))
    config = NetworkConfig(width=4, layers=2, heads=2, dropout=0.0)
    fusion = typed_layers(types, config, "gatv2").double()
    _, x, index, _ = graph(5, 5, 0)
    edges = {kind: Edges(index)}
    before = fusion.nodes({"task": x}, edges)["task"]
    with fusion.uniform_attention(kind):
        inside = fusion.nodes({"task": x}, edges)["task"]
        layer = fusion.layers[0]
        message = uniform_message(layer.convs[relation_name(kind)], x, x, index)
        normed = layer.norm["task"](layer.bias["task"] + message)
        first = x + torch.nn.functional.gelu(normed)
        torch.testing.assert_close(layer({"task": x}, edges)["task"], first)
    assert not torch.allclose(before, inside)
    assert torch.equal(before, fusion.nodes({"task": x}, edges)["task"])


def test_a_layer_is_its_formula():
    """h' = h + GELU(LN(b + sum of messages)), bias once per type whatever the relations."""
    torch.manual_seed(0)
    kinds = (("a", "to", "b"), ("b", "to", "b"))
    convs = {relation_name(kind): make_conv("gat", 4, 2) for kind in kinds}
    layer = TypedLayer(("a", "b"), kinds, 4, 0.0, convs).double()
    with torch.no_grad():
        for bias in layer.bias.values():
            bias.normal_()
    a, b, index, _ = graph(3, 5, 0)
    own = graph(5, 5, 1)[2]
    out = layer({"a": a, "b": b}, {kinds[0]: Edges(index), kinds[1]: Edges(own)})
    message = layer.convs["a__to__b"](a, b, index) + layer.convs["b__to__b"](b, b, own)
    act = torch.nn.functional.gelu
    torch.testing.assert_close(out["b"], b + act(layer.norm["b"](layer.bias["b"] + message)))
    alone = layer.bias["a"].expand(3, -1)
    torch.testing.assert_close(out["a"], a + act(layer.norm["a"](alone)))


def test_unfit_settings_are_said():
    with pytest.raises(UsageError, match="unknown convolution 'mean'; use one of gcn, gat, gatv2"):
        make_conv("mean", 8, 2)
    with pytest.raises(UsageError, match="width 10 is not a multiple of the 4 heads"):
        make_conv("gat", 10, 4)
