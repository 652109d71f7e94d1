import av
import numpy as np
import pytest
from PIL import Image

from gnnfusion.errors import SchemaError


@pytest.fixture
def clip(tmp_path, file):
    """A clip whose brightness is 10 times the frame's number."""

    def make(name="a.mp4", frames=20, rate=10):
        with av.open(str(tmp_path / name), "w") as out:
            stream = out.add_stream("mpeg4", rate=rate)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            stream.bit_rate = 4_000_000
            for k in range(frames):
                data = np.full((32, 32, 3), 10 * k, np.uint8)
                for packet in stream.encode(av.VideoFrame.from_ndarray(data, format="rgb24")):
                    out.mux(packet)
            for packet in stream.encode():
                out.mux(packet)
        return file(name)

    return make


def shown(nodes):
    return (nodes.x.reshape(len(nodes), -1).mean(1) / 10).round().astype(int).tolist()


@pytest.mark.parametrize(
    ("rate", "times", "frames"),
    [
        (2, [0, 0.5, 1, 1.5], [0, 5, 10, 15]),
        (1, [0, 1], [0, 10]),
        (0.1, [0], [0]),
        (20, [k / 20 for k in range(40)], [k // 2 for k in range(40)]),
    ],
)
def test_frames_are_taken_at_the_rate(run, clip, rate, times, frames):
    results, spec, _ = run("video", [clip()], {"rate": rate, "size": 16, "max_frames": 99})
    assert spec.shape == (3, 16, 16)
    assert spec.position == ("time",)
    np.testing.assert_allclose(results[0].pos[:, 0], times, atol=1e-5)
    assert np.abs(np.array(shown(results[0])) - frames).max() <= (0 if rate < 20 else 1)


def test_long_clips_are_thinned_over_their_length(run, clip):
    results, _, _ = run("video", [clip()], {"rate": 10, "max_frames": 3})
    assert results[0].pos[:, 0].tolist() == pytest.approx([0, 1, 1.9], abs=0.11)


def test_folders_of_pictures_are_clips(run, file, tmp_path):
    (tmp_path / "f").mkdir()
    for k in range(12):
        Image.new("L", (8, 8), 10 * k).save(tmp_path / f"f/frame{k}.png")
    results, _, _ = run(
        "video", [file("f")], {"rate": 2, "source_rate": 4, "channels": 1, "size": 8}
    )
    assert results[0].x.shape == (6, 1, 8, 8)
    assert shown(results[0]) == [0, 2, 4, 6, 8, 10]  # frame10 after frame2
    assert results[0].pos[:, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5]


def test_bad_clips_are_explained(run, clip, file, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"nothing at all")
    (tmp_path / "empty").mkdir()
    cells = [clip(), file("bad.mp4"), file("gone.mp4"), file("empty"), None]
    results, _, _ = run("video", cells)
    assert "the video 'bad.mp4' cannot be read" in results[1]
    assert results[2] == "the video 'gone.mp4' is not there"
    assert "the folder has no picture" in results[3]
    assert len(results[4]) == 0
    with pytest.raises(SchemaError, match="one column"):
        run("video", [(None, None)])
