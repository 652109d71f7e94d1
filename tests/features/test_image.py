import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gnnfusion.features import image
from gnnfusion.features.files import Partial


@pytest.fixture
def picture(tmp_path, file):
    """Left half red, right half blue, 40 wide and 20 high."""

    def make(name="a.png", **save):
        data = np.zeros((20, 40, 3), np.uint8)
        data[:, :20, 0] = 255
        data[:, 20:, 2] = 255
        Image.fromarray(data).save(tmp_path / name, **save)
        return file(name)

    return make


def test_a_picture_is_one_node(run, picture):
    results, spec, _ = run("image", [picture(), None], {"size": [10, 20]})
    assert spec.shape == (3, 10, 20)
    assert spec.dtype == "uint8"
    assert spec.position == ()
    x = results[0].x
    assert x.shape == (1, 3, 10, 20)
    assert x[0, 0, :, :8].min() == 255
    assert x[0, 2, :, 12:].min() == 255
    assert len(results[1]) == 0


def test_a_grid_makes_a_node_of_each_patch(run, picture):
    results, spec, _ = run("image", [picture()], {"size": [10, 20], "grid": [1, 2]})
    assert spec.shape == (3, 10, 10)
    assert spec.position == ("row", "column")
    assert results[0].pos.tolist() == [[0, 0], [0, 1]]
    assert results[0].x[0, 0].mean() > 240  # red left
    assert results[0].x[1, 2].mean() > 240  # blue right


@given(rows=st.integers(1, 4), columns=st.integers(1, 4), channels=st.sampled_from([1, 3]))
def test_patches_put_together_are_the_picture(rows, columns, channels):
    settings = image.Settings(size=(rows * 3, columns * 2), grid=(rows, columns), channels=channels)
    whole = np.random.default_rng(0).integers(0, 255, (channels, rows * 3, columns * 2))
    nodes = image._nodes(settings, image.spec(settings, {"pictures": ["a"]}), [whole], [0])
    for x, (r, c) in zip(nodes.x, nodes.pos.astype(int), strict=True):
        assert (x == whole[:, r * 3 : r * 3 + 3, c * 2 : c * 2 + 2]).all()


def test_several_pictures_say_which_they_are(run, picture):
    rows = [(picture("a.png"), None, picture("b.png"))]
    results, spec, _ = run("image", rows)
    assert spec.position == ("picture",)
    assert results[0].pos.tolist() == [[0], [2]]
    _, spec, _ = run("image", rows, {"grid": [2, 2]})
    assert spec.position == ("picture", "row", "column")


def test_a_bad_picture_leaves_the_others(run, picture, file, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    results, _, _ = run("image", [(picture(), file("bad.png"), file("gone.png"))])
    assert isinstance(results[0], Partial)
    assert results[0].nodes.pos.tolist() == [[0]]
    (one, bad), (two, gone) = results[0].problems
    assert (one, two) == (1, 2)
    assert bad.startswith("the image 'bad.png' cannot be read (")
    assert str(tmp_path) not in bad
    assert gone == "the image 'gone.png' is not there"


def test_truncated_pictures_are_problems(run, picture, file, tmp_path):
    picture("a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(data[: len(data) // 2])
    results, _, _ = run("image", [file("b.jpg")])
    assert "cannot be read" in results[0]


def test_cameras_that_were_turned_are_respected(run, picture):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: red comes to the right
    results, _, _ = run("image", [picture("a.jpg", exif=exif)], {"size": [10, 20]})
    assert results[0].x[0, 0, :, 12:].min() > 200


def test_crop_keeps_the_shape_of_things(run, picture):
    results, _, _ = run("image", [picture()], {"size": 10, "resize": "crop"})
    x = results[0].x[0]
    assert x[0, :, :4].min() > 200
    assert x[2, :, 6:].min() > 200


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16", "1", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_of_picture_is_read(run, file, tmp_path, mode, channels):
    grey = Image.new("L", (8, 8), 200)
    if mode == "I;16":
        grey = Image.fromarray(np.full((8, 8), 200 * 257, np.uint16))
    else:
        grey = grey.convert(mode)
    grey.save(tmp_path / "a.tif")
    results, _, _ = run("image", [file("a.tif")], {"size": 8, "channels": channels})
    value = float(results[0].x.mean())
    assert value == pytest.approx(255 if mode == "1" else 200, abs=60 if mode == "1" else 3)
