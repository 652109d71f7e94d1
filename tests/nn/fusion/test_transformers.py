"""Transformers: attention against its definition; padding never matters; who sees whom."""

import pytest
import torch
from random_stores import make_network, make_store

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.nn.fusion.attention import Block, MaskedAttention
from gnnfusion.nn.fusion.padding import pad
from gnnfusion.schema import Context


def made(fusion, **settings):
    store = make_store(samples=10, **{"missing": 0.4, **settings})
    network = make_network(store, fusion=fusion)
    batch = make_batch(store, store.rows(), topology_of(store))
    with torch.no_grad():
        h = {kind: x.double() for kind, x in network.encode(batch).items()}
    return network.fusion.double(), h, batch


def test_padding_puts_every_node_in_its_samples_row_and_back():
    sample = torch.tensor([2, 0, 2, 4, 2, 0])
    x = torch.randn(6, 3)
    rows = pad(x, sample, 5)
    assert rows.x.shape == (5, 3, 3)
    assert rows.present.sum(1).tolist() == [2, 0, 3, 0, 1]
    assert torch.equal(rows.x[2], x[[0, 2, 4]])  # in their order
    assert not rows.x[~rows.present].any()
    assert torch.equal(rows.nodes(rows.x), x)
    none = pad(x[:0], sample[:0], 2)
    assert none.x.shape == (2, 1, 3)
    assert not none.present.any()


@torch.no_grad()
def test_attention_is_its_definition_and_zero_without_keys():
    torch.manual_seed(0)
    net = MaskedAttention(4, 2).double()
    x, memory = torch.randn(3, 2, 4).double(), torch.randn(3, 5, 4).double()
    present = torch.tensor([[1, 1, 0, 1, 0], [0] * 5, [0, 0, 0, 0, 1]]).bool()
    out = net(x, memory, present)
    assert torch.equal(out[1], torch.zeros(2, 4).double())
    for b in (0, 2):
        keys = memory[b][present[b]]
        q, k, v = (
            f(y).view(-1, 2, 2) for f, y in ((net.query, x[b]), (net.key, keys), (net.value, keys))
        )
        weights = (torch.einsum("qhd,khd->hqk", q, k) / 2**0.5).softmax(2)
        torch.testing.assert_close(
            out[b], net.out(torch.einsum("hqk,khd->qhd", weights, v).flatten(1))
        )


@torch.no_grad()
def test_padding_never_matters():
    """What stands where nothing is, and how much of it, reaches no output."""
    torch.manual_seed(0)
    block = Block(4, 2, 0.0).double()
    x = torch.randn(2, 5, 4).double()
    present = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
    out = block(x, present)
    other = x.clone()
    other[~present] = 1e6
    assert torch.equal(block(other, present)[present], out[present])
    torch.testing.assert_close(block(x[:, :3], present[:, :3])[0], out[0, :3])
    crossed = block(x, present, x)
    assert torch.equal(block(x, present, other), crossed)


@torch.no_grad()
def test_a_gradient_through_a_row_of_nothing_is_finite():
    net = MaskedAttention(4, 2)
    x = torch.randn(2, 3, 4, requires_grad=True)
    with torch.enable_grad():
        net(x, x, torch.tensor([[True] * 3, [False] * 3])).sum().backward()
    assert x.grad.isfinite().all()
    assert not x.grad[1].any()


@torch.no_grad()
@pytest.mark.parametrize("fusion", ["transformer", "encoder_decoder"])
def test_tokens_are_all_nodes_and_tasks_of_the_sample(fusion):
    """Sample by sample, unpadded, with the same layers."""
    trunk, h, batch = made(fusion)
    out = trunk(h, batch)
    for row in range(10):
        nodes = torch.cat(
            [h[m][batch.node_sample(m) == row] + trunk.marks.marks[m] for m in batch.nodes]
        )[None]
        tasks = h["task"].view(10, 3, 8)[row][None]
        all_nodes = torch.ones(1, nodes.shape[1], dtype=torch.bool)
        all_tasks = torch.ones(1, 3, dtype=torch.bool)
        if fusion == "transformer":
            x = torch.cat([tasks, nodes], 1)
            for block in trunk.layers:
                x = block(x, torch.cat([all_tasks, all_nodes], 1))
        else:
            for block in trunk.encoder:
                nodes = block(nodes, all_nodes)
            x = tasks
            for among, ask, feed in zip(trunk.among, trunk.ask, trunk.feed, strict=True):
                x = among(x, all_tasks)
                x = feed(ask(x, all_nodes, trunk.norm(nodes)))
        torch.testing.assert_close(out[row], x[0, :3])


@torch.no_grad()
def test_mult_reads_every_modality_by_every_other_that_is_there():
    """The formula, sample by sample: absent sources are skipped, not attended to."""
    trunk, h, batch = made("mult")
    out, seen = trunk(h, batch), set()
    for row in range(10):
        own = {m: h[m][batch.node_sample(m) == row][None] for m in batch.nodes}
        here = [m for m in own if own[m].shape[1]]
        y = trunk.concat.bias.clone()
        for a in here:
            x = own[a]
            for b in here:
                if b != a:
                    z = own[a]
                    for block in trunk.cross[f"{b}__{a}"]:
                        z = block(z, torch.ones(1, own[b].shape[1], dtype=torch.bool), own[b])
                    x = x + trunk.project[f"{b}__{a}"](z)
            for block in trunk.own[a]:
                x = block(x, torch.ones(1, x.shape[1], dtype=torch.bool))
            y = y + trunk.concat.maps[a](x[0].mean(0))
        torch.testing.assert_close(out[row, 0], y)
        seen.add(len(here))
    assert seen == {0, 1, 2, 3}


@torch.no_grad()
def test_modalities_meet_in_the_bottleneck_alone():
    """Sample by sample; shared tokens are the mean over the modalities that are there."""
    trunk, h, batch = made("bottleneck")
    out = trunk(h, batch)
    for row in range(10):
        own = {
            m: (h[m][batch.node_sample(m) == row] + trunk.marks.marks[m])[None] for m in batch.nodes
        }
        here = [m for m in own if own[m].shape[1]]
        shared = trunk.tokens[None]
        for layer in trunk.layers:
            told = []
            for m in here:
                both = torch.cat([shared, own[m]], 1)
                both = layer[m](both, torch.ones(both.shape[:2], dtype=torch.bool))
                told.append(both[:, :4])
                own[m] = both[:, 4:]
            shared = torch.stack(told).mean(0) if told else shared
        torch.testing.assert_close(out[row, 0], trunk.out(shared.flatten()))


@torch.no_grad()
def test_marks_tell_own_nodes_from_those_before_and_after():
    context = Context(group="g", order="o", before=1, after=1)
    trunk, h, batch = made("transformer", context=context)
    marked, seen = trunk.marks(h, batch), set()
    for m in batch.nodes:
        for i, offset in enumerate(batch.node_offset(m).tolist()):
            slot = m + {0: "", -1: "__before", 1: "__after"}[offset]
            torch.testing.assert_close(marked[m][i], h[m][i] + trunk.marks.marks[slot])
            seen.add(slot)
    assert len(seen) == 9
