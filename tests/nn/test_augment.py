"""Random changes of pictures, sound and words: what each leaves as it was, and who sees it."""

import pytest
import torch

from gnnfusion.features.nodes import NodeSpec
from gnnfusion.features.text import PADDING, UNKNOWN
from gnnfusion.graphs.topology import NodeLayout
from gnnfusion.nn.encoders.augment import Augment, drop_tokens, flipped, lit, masked, shifted
from gnnfusion.nn.encoders.gru import GRUEncoder
from gnnfusion.nn.encoders.picture import PictureEncoder, make
from gnnfusion.nn.encoders.transformer import TransformerTokenEncoder
from gnnfusion.nn.encoders.vector import VectorEncoder

ALL = {
    "shift": 0.2, "flip": 0.5, "brightness": 0.2, "contrast": 0.2, "time_mask": 0.3,
    "frequency_mask": 0.3, "noise": 0.1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def each(n):
    return torch.arange(n)


def test_nothing_is_nothing_and_draws_nothing():
    x, state = torch.randn(4, 3, 8, 8), torch.get_rng_state()
    assert Augment().move(x, each(4)) is x
    assert Augment().change(x, each(4)) is x
    ids = torch.ones(2, 3, dtype=torch.long)
    assert drop_tokens(ids, 0.0) is ids
    assert torch.equal(torch.get_rng_state(), state)


def test_a_shift_moves_the_whole_picture_by_whole_pixels_and_repeats_its_edge():
    """Each pixel holds its own row and column, so what is read says from where."""
    row, column = torch.meshgrid(torch.arange(10), torch.arange(20), indexing="ij")
    x = torch.stack([row, column]).expand(500, 2, 10, 20).to(torch.uint8)
    found = shifted(x, each(500), 0.2).long()
    down, across = found[:, 0, 5, 10] - 5, found[:, 1, 5, 10] - 10
    assert set(down.tolist()) == set(range(-2, 3))
    assert set(across.tolist()) == set(range(-4, 5))
    for k in range(20):
        assert torch.equal(found[k, 0], (row + down[k]).clamp(0, 9))
        assert torch.equal(found[k, 1], (column + across[k]).clamp(0, 19))


def test_a_flip_is_a_mirror_of_as_many_as_asked_for():
    x = torch.randn(4000, 1, 2, 3)
    found = flipped(x, each(4000), 0.3)
    turned = (found == x.flip(3)).flatten(1).all(1)
    assert (turned | (found == x).flatten(1).all(1)).all()
    assert turned.float().mean() == pytest.approx(0.3, abs=0.03)


def test_contrast_keeps_a_picture_s_mean_and_brightness_its_differences():
    x = torch.randn(3000, 2, 4, 4)
    found = lit(x, each(3000), 0.0, 0.2)
    torch.testing.assert_close(found.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-5, rtol=0)
    factor = found.std((1, 2, 3)) / x.std((1, 2, 3))
    assert factor.log().std() == pytest.approx(0.2, rel=0.1)
    added = lit(x, each(3000), 0.3, 0.0) - x
    torch.testing.assert_close(added, added[:, :1, :1, :1].expand_as(x), atol=1e-5, rtol=0)
    assert added[:, 0, 0, 0].std() == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("axis", [2, 3])
def test_a_mask_hides_one_band_of_one_axis(axis):
    """Widths are uniform from 0 to the largest, and every place can be hidden."""
    x = torch.ones(4000, 2, 10, 10)
    found = masked(x, each(4000), 0.3, axis)
    other = 5 - axis
    band = found.amax((1, other)) == 0  # [n, 10]
    assert torch.equal(band, found.amin((1, other)) == 0)  # across all of the other axis
    begins = band[:, 0].long() + (band[:, 1:] & ~band[:, :-1]).sum(1)
    assert begins.max() == 1
    share = torch.bincount(band.sum(1), minlength=4) / 4000
    torch.testing.assert_close(share, torch.full((4,), 0.25), atol=0.03, rtol=0)
    assert band.any(0).all()


def test_the_frames_of_a_clip_change_together_and_other_clips_on_their_own():
    frame = torch.randn(1, 1, 12, 12)
    x, unit = frame.expand(40, 1, 12, 12), torch.arange(8).repeat_interleave(5)
    augment = Augment(shift=0.4, brightness=0.2, contrast=0.2, frequency_mask=0.4)
    found = augment.change(augment.move(x, unit), unit).unflatten(0, (8, 5))
    assert torch.equal(found, found[:, :1].expand_as(found))
    assert len(found[:, 0].flatten(1).unique(dim=0)) == 8


def test_words_become_unknown_and_padding_stays():
    ids = torch.tensor([[5, 6, 7, PADDING]]).repeat(2000, 1)
    found = drop_tokens(ids, 0.25)
    gone = found != ids
    assert (found[gone] == UNKNOWN).all()
    assert not gone[:, 3].any()
    assert gone[:, :3].float().mean() == pytest.approx(0.25, abs=0.02)


def nodes_of(x, dtype="float32"):
    spec = NodeSpec(tuple(x.shape[1:]), dtype)
    return NodeLayout(x, torch.zeros(len(x), 0), torch.arange(len(x) + 1), spec)


ENCODERS = {
    "cnn": (lambda: PictureEncoder((3, 16, 16), 8, 0.0, **ALL), torch.rand(4, 3, 16, 16)),
    "mlp": (lambda: VectorEncoder(5, 8, 0.0, noise=0.2), torch.rand(4, 5)),
    "gru": (lambda: GRUEncoder(9, 8, 0.0, token_dropout=0.5), torch.arange(2, 8).repeat(4, 1)),
    "transformer": (
        lambda: TransformerTokenEncoder(9, 8, 0.0, token_dropout=0.5),
        torch.arange(2, 8).repeat(4, 1),
    ),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_only_training_sees_it_and_the_seed_of_the_step_decides(name):
    make_one, x = ENCODERS[name]
    encoder, nodes = make_one(), nodes_of(x)

    def run(seed):
        torch.manual_seed(seed)
        return encoder(nodes)

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    encoder.eval()
    assert torch.equal(run(1), run(2))
    assert encoder(nodes_of(x[:0])).shape == (0, 8)
    assert encoder.train()(nodes_of(x[:0])).shape == (0, 8)


def test_settings_that_cannot_be_are_said():
    for wrong in ({"shift": -0.1}, {"flip": 1.5}, {"noise": -1.0}):
        with pytest.raises(ValueError, match="must lie between 0 and 1, and"):
            Augment(**wrong)
    with pytest.raises(ValueError, match="token_dropout must be at least 0 and below 1"):
        GRUEncoder(9, 8, 0.0, token_dropout=1.0)
    with pytest.raises(ValueError, match="noise must not be negative"):
        VectorEncoder(5, 8, 0.0, noise=-0.1)
    patches = NodeSpec((3, 8, 8), "uint8", ("row", "column"))
    with pytest.raises(ValueError, match="not the places of a grid of their patches"):
        make(patches, {}, 8, 0.0, flip=0.5)
    make(patches, {}, 8, 0.0, shift=0.1)
