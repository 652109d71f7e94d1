"""Hard concrete gates: their distribution, their price, and that a closed gate hides a feature."""

from dataclasses import replace

import pytest
import torch
from random_stores import make_network, make_store
from torch import nn

from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.topology import NodeLayout
from gnnfusion.nn.encoders.picture import PictureEncoder
from gnnfusion.nn.encoders.selection import (
    SPEED,
    Selection,
    make_selection,
    selected,
    selection_penalty,
)
from gnnfusion.nn.encoders.vector import VectorEncoder
from gnnfusion.nn.encoders.window import WindowEncoder


def with_logits(*logits, price=0.5):
    torch.manual_seed(0)
    made = Selection(len(logits), price)
    with torch.no_grad():
        made.slow.copy_(torch.tensor(logits) / SPEED)
    return made


def test_gates_are_open_as_often_as_the_loss_pays_for():
    made = with_logits(-4.0, -1.0, 0.0, 3.0)
    drawn = made(torch.ones(40000, 4))
    assert drawn.min() == 0
    assert drawn.max() == 1  # both ends are met exactly
    torch.testing.assert_close((drawn > 0).float().mean(0), made.chances(), atol=0.01, rtol=0)
    torch.testing.assert_close(made.penalty(), 0.5 * made.chances().mean())


def test_without_noise_a_gate_is_the_cut_sigmoid():
    made = with_logits(-9.0, -1.0, 9.0).eval()
    expected = [0.0, 1.2 * float(torch.tensor(-1.0).sigmoid()) - 0.1, 1.0]
    torch.testing.assert_close(made.gates(), torch.tensor(expected))
    x = torch.randn(5, 3, 4)
    torch.testing.assert_close(made(x), x * torch.tensor(expected).view(1, 3, 1))


def test_a_closed_feature_still_feels_its_price_but_reaches_nothing():
    made = with_logits(-9.0, 0.0)
    made.penalty().backward()
    assert (made.slow.grad > 0).all()  # descent closes
    made.eval()
    a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[-7.0, 2.0]])
    assert torch.equal(made(a), made(b))


def test_a_feature_that_lowers_the_loss_stays_and_others_go():
    """y is the first of eight features; the price is what seven of them cannot pay."""
    torch.manual_seed(0)
    x = torch.randn(400, 8)
    made, linear = Selection(8, 0.2), nn.Linear(8, 1)
    optimizer = torch.optim.Adam([*made.parameters(), *linear.parameters()], lr=0.01)
    for _ in range(400):
        loss = (linear(made(x))[:, 0] - 2 * x[:, 0]).square().mean() + made.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    gates = made.gates()
    assert gates[0] > 0.9
    assert (gates[1:] == 0).all()


def test_no_price_is_no_gate_no_draw_and_no_parameter():
    assert isinstance(make_selection(5, 0.0), nn.Identity)
    encoder = VectorEncoder(5, 8, 0.0)
    assert not [k for k in encoder.state_dict() if "select" in k]
    assert selection_penalty(encoder) == 0.0
    assert selected(encoder) == {}
    with pytest.raises(ValueError, match="select must not be negative"):
        make_selection(5, -0.1)


def test_channels_of_a_signal_are_gated_as_wholes():
    torch.manual_seed(0)
    encoder = WindowEncoder(2, 8, 0.0, select=0.1).eval()
    with torch.no_grad():
        encoder.select.slow[1] = -5.0
    spec, ptr = NodeSpec((2, 16), "float32"), torch.arange(4)
    x = torch.randn(3, 2, 16)
    other = torch.cat([x[:, :1], torch.randn(3, 1, 16)], 1)
    a, b = (encoder(NodeLayout(v, torch.zeros(3, 0), ptr, spec)) for v in (x, other))
    assert torch.equal(a, b)


def test_channels_of_pictures_are_gated_after_their_last_block():
    """With all of them closed a picture says nothing; with one open, what that one found in it."""
    torch.manual_seed(0)
    encoder = PictureEncoder((3, 16, 16), 8, 0.0, channels=(4, 5), select=0.1).eval()
    assert encoder.select.gates().shape == (5,)
    spec, ptr = NodeSpec((3, 16, 16), "float32"), torch.arange(4)
    x, other = torch.randn(2, 3, 3, 16, 16)
    with torch.no_grad():
        encoder.select.slow.fill_(-5.0)
        a, b = (encoder(NodeLayout(v, torch.zeros(3, 0), ptr, spec)) for v in (x, other))
        assert torch.equal(a, b)
        encoder.select.slow[2] = 5.0
        a, b = (encoder(NodeLayout(v, torch.zeros(3, 0), ptr, spec)) for v in (x, other))
        assert not torch.equal(a, b)


@pytest.mark.parametrize("sharing", ["task_nodes", "single"])
def test_a_network_pays_for_its_selections_and_names_them(sharing):
    store = make_store(("vector", "tokens"), samples=20)
    first = replace(store.schema.modalities[0], encoder={"name": "mlp", "select": 0.3})
    schema = replace(store.schema, modalities=(first, store.schema.modalities[1]))
    store = GraphStore({**store.meta, "schema": schema.to_dict()}, store.tensors)
    network = make_network(store, sharing=sharing)
    names = ["encoders.m0"]
    if sharing == "single":
        names = [f"networks.{t}.encoders.m0" for t in store.schema.task_names]
    found = selected(network)
    assert list(found) == names
    assert all(gates.shape == (5,) for gates in found.values())
    parts = [m.penalty() for m in network.modules() if isinstance(m, Selection)]
    torch.testing.assert_close(network.penalty(), torch.stack(parts).mean())
