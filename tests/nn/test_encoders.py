import pytest
import torch
from random_stores import COLUMNS, NODES, make_network, make_store

from gnnfusion.errors import SchemaError
from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.topology import NodeLayout
from gnnfusion.nn.encoders import default_encoder, make_encoder
from gnnfusion.nn.encoders.keypoints import Keypoints
from gnnfusion.nn.encoders.position import PositionEncoding, sinusoids
from gnnfusion.nn.encoders.standardize import Standardize
from gnnfusion.nn.encoders.window import WindowEncoder, changes
from gnnfusion.schema import Modality


def layout(x, ptr, spec=None):
    x = torch.as_tensor(x)
    spec = spec or NodeSpec(tuple(x.shape[1:]), str(x.dtype).removeprefix("torch."))
    return NodeLayout(x, torch.zeros(len(x), 0), torch.tensor(ptr), spec)


@pytest.mark.parametrize("kind", NODES)
def test_every_kind_gives_one_vector_a_node_and_none_for_none(kind):
    store = make_store((kind,), ("regression",), samples=5, missing=0.0)
    network = make_network(store)
    encoder, nodes = network.encoders["m0"], store.nodes("m0")
    out = encoder(NodeLayout(nodes.x, nodes.pos, nodes.ptr, nodes.spec))
    assert out.shape == (len(nodes.x), 8)
    assert out.isfinite().all()
    none = encoder(NodeLayout(nodes.x[:0], nodes.pos[:0], torch.zeros(1, dtype=int), nodes.spec))
    assert none.shape == (0, 8)


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_padding_and_neighbours_do_not_reach_a_sequence(name):
    """A longer sentence beside it, or zeros behind it, leave a sentence's vector as it is."""
    torch.manual_seed(0)
    state = {"vocabulary": list("abcdefgh")}
    m = Modality(name="m", kind="text", columns=("c",), encoder={"name": name})
    encoder = make_encoder(m, NodeSpec((1,), "int32"), state, 8, 0.0).eval()
    a, b = [[2], [3]], [[4], [5], [6], [7], [8]]
    alone = encoder(layout(torch.tensor(a, dtype=torch.int32), [0, 2]))
    both = encoder(layout(torch.tensor(a + b, dtype=torch.int32), [0, 2, 2, 7]))
    torch.testing.assert_close(alone, both[:2], rtol=1e-5, atol=1e-6)
    short = encoder(layout(torch.tensor([[2, 3]], dtype=torch.int32), [0, 1]))
    padded = encoder(layout(torch.tensor([[2, 3, 0, 0]], dtype=torch.int32), [0, 1]))
    torch.testing.assert_close(short, padded, rtol=1e-5, atol=1e-6)
    # One node a sentence is the mean of one node a token.
    torch.testing.assert_close(short[0], alone.mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_the_order_of_words_matters(name):
    torch.manual_seed(0)
    m = Modality(name="m", kind="text", columns=("c",), encoder={"name": name})
    encoder = make_encoder(m, NodeSpec((3,), "int32"), {"vocabulary": list("ab")}, 8, 0.0).eval()
    x = torch.tensor([[2, 3, 2], [3, 2, 2]], dtype=torch.int32)
    out = encoder(layout(x, [0, 1, 2]))
    assert not torch.allclose(out[0], out[1])


def test_a_missing_cell_hides_its_value_and_columns_differ():
    torch.manual_seed(0)
    m = Modality(name="m", kind="tabular", columns=("a",))
    encoder = make_encoder(m, NodeSpec((3,), "float32"), {"columns": COLUMNS}, 8, 0.0)
    rows = [[0, 5, 1], [0, -1, 1], [0, 5, 0], [0, -1, 0], [2, 5, 0], [1, 1, 0], [1, 2, 0]]
    x = torch.tensor(rows, dtype=torch.float32)
    out = encoder(layout(x, [0, 7]))
    assert torch.equal(out[0], out[1])
    for a, b in ((0, 2), (2, 3), (2, 4), (5, 6)):
        assert not torch.allclose(out[a], out[b])


@pytest.mark.parametrize("shape", [(4,), (3, 1, 1), (2, 1)])
def test_standardized_training_nodes_have_mean_0_and_spread_1(shape):
    torch.manual_seed(0)
    full = {1: (4,), 3: (3, 5, 6), 2: (2, 7)}[len(shape)]
    x = 1000 + 3 * torch.randn(5000, *full)
    x[:, 0] = 8.0  # constant: left at zero, not divided by zero
    made = Standardize(shape)
    made.fit(x)
    z = made(x).double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(z.mean(1), torch.zeros(len(z)).double(), atol=1e-3, rtol=0)
    spread = z.std(1, correction=0)
    torch.testing.assert_close(spread[1:], torch.ones(len(z) - 1).double(), atol=1e-3, rtol=0)
    assert spread[0] == 0
    made.fit(x[:0])
    torch.testing.assert_close(made(x).double().transpose(0, 1).flatten(1), z)


def test_sinusoids_are_their_formula():
    pos = torch.tensor([[0.3, 2.0], [1.7, -5.0]])
    found = sinusoids(pos).view(2, 2, 2, 12)  # sine or cosine, column, wavelength
    waves = [2.0 ** (k - 2) for k in range(12)]
    for n in range(2):
        for c in range(2):
            angle = 2 * torch.pi * pos[n, c] / torch.tensor(waves)
            torch.testing.assert_close(found[n, 0, c], angle.sin())
            torch.testing.assert_close(found[n, 1, c], angle.cos())
    assert PositionEncoding(2, 8)(pos).shape == (2, 8)
    assert PositionEncoding(1, 8)(torch.zeros(0, 1)).shape == (0, 8)


def test_near_and_far_positions_are_told_apart():
    """No two of the first 250 whole positions share a code, nor do two within a quarter."""
    for pos in (torch.arange(250.0), torch.arange(0, 4, 0.05)):
        code = sinusoids(pos.unsqueeze(1))
        distance = torch.cdist(code, code) + 10 * torch.eye(len(code))
        assert distance.min() > 1e-2


@pytest.mark.parametrize(
    ("kind", "spec", "state", "name"),
    [
        ("tabular", NodeSpec((3,), "float32"), {"columns": []}, "columns"),
        ("text", NodeSpec((40,), "int32"), {"vocabulary": []}, "gru"),
        ("text", NodeSpec((40,), "int32"), {"config": {}}, "text_model"),
        ("text", NodeSpec((384,), "float32"), {}, "mlp"),
        ("series", NodeSpec((6, 50), "float32"), {}, "conv1d"),
        ("image", NodeSpec((3, 32, 32), "uint8"), {}, "cnn"),
        ("array", NodeSpec((2, 3, 4, 5), "float32"), {}, "mlp"),
    ],
)
def test_the_encoder_follows_from_the_nodes(kind, spec, state, name):
    assert default_encoder(kind, spec, state) == name


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ({"name": "resnet"}, "modality 'm': unknown encoder 'resnet'; use mlp, cnn"),
        ({"name": "cnn"}, r"encoder 'cnn': nodes must be \(channels, height, width\)"),
        ({"name": "conv1d"}, r"encoder 'conv1d': nodes must be \(channels, steps\)"),
        ({"depth": 3}, "encoder 'mlp': .*depth"),
    ],
)
def test_unfit_encoders_are_said(encoder, words):
    m = Modality(name="m", kind="array", columns=("c",), encoder=encoder)
    with pytest.raises(SchemaError, match=words):
        make_encoder(m, NodeSpec((5,), "float32"), {}, 8, 0.0)


def test_keypoints_say_where_a_channel_looks():
    """A sharp peak: its place to a pixel, no spread; an even channel: the middle."""
    x = torch.zeros(1, 2, 5, 9)
    x[0, 0, 1, 6] = 50.0
    with torch.no_grad():
        mean, row, row_spread, column, column_spread = Keypoints(2)(x).unflatten(1, (5, 2))[0]
    torch.testing.assert_close(mean, torch.tensor([50 / 45, 0.0]))
    torch.testing.assert_close(row, torch.tensor([-0.5, 0.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(column, torch.tensor([0.5, 0.0]), atol=1e-5, rtol=0)
    assert row_spread[0] < 2e-3
    assert column_spread[1] > 0.5


def test_differences_are_the_changes_from_step_to_step():
    """Of a straight line a constant, at the first step nothing; for fitting, their own spread."""
    line = torch.arange(6.0).expand(2, 3, 6)
    assert torch.equal(changes(line), torch.ones(2, 3, 6).index_fill(2, torch.tensor(0), 0.0))
    torch.manual_seed(0)
    encoder = WindowEncoder(3, 8, 0.0, differences=True).eval()
    slow = torch.randn(50, 3, 20).cumsum(2) * torch.tensor([1.0, 10.0, 0.1]).view(3, 1)
    nodes = NodeLayout(slow, torch.zeros(50, 0), torch.arange(51), NodeSpec((3, 20), "float32", ()))
    encoder.fit(nodes)
    read = encoder._with_changes(encoder.standardize(slow))
    assert read.shape == (50, 6, 20)
    torch.testing.assert_close(
        read.transpose(0, 1).flatten(1).std(1), torch.ones(6), rtol=1e-2, atol=0
    )
    # A shift of the whole signal changes where it is, not how it moves.
    moved = encoder._with_changes(encoder.standardize(slow + 5.0))
    torch.testing.assert_close(moved[:, 3:], read[:, 3:], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(moved[:, :3], read[:, :3], atol=0.1)


def test_parts_keep_the_order_within_a_window():
    """Averaged over the whole window, a signal and its reverse through even filters are alike."""
    torch.manual_seed(0)
    x = torch.randn(3, 2, 16)
    spec = NodeSpec((2, 16), "float32", ())
    ptr = torch.arange(4)
    for parts, alike in ((1, True), (4, False)):
        encoder = WindowEncoder(2, 8, 0.0, channels=(16,), kernel=1, parts=parts).eval()
        with torch.no_grad():
            a, b = (encoder(NodeLayout(v, torch.zeros(3, 0), ptr, spec)) for v in (x, x.flip(2)))
        assert torch.allclose(a, b, atol=1e-5) == alike
