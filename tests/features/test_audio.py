import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnfusion.errors import DataError, SchemaError
from gnnfusion.features import audio
from gnnfusion.features.load_librosa import load_librosa


@pytest.fixture
def sound(tmp_path, file):
    """A tone; several channels are copies."""

    def make(name="a.wav", seconds=2.0, rate=16_000, hz=220.0, channels=1, loud=0.5):
        time = np.arange(int(seconds * rate)) / rate
        tone = loud * np.sin(2 * np.pi * hz * time)
        soundfile.write(tmp_path / name, np.stack([tone] * channels, 1), rate)
        return file(name)

    return make


def test_segments_have_times_in_seconds(run, sound):
    results, spec, _ = run("audio", [sound(), sound("b.wav", 0.2), None])
    assert spec.shape == (1, 40, 100)
    assert spec.position == ("time",)
    assert results[0].pos[:, 0].tolist() == pytest.approx([0.5, 1.0, 1.5])
    assert results[1].pos[:, 0].tolist() == pytest.approx([0.5])  # filled to one segment
    assert len(results[2]) == 0


@given(
    seconds=st.floats(0.05, 4),
    segment=st.sampled_from([0.2, 0.5, 1.0]),
    hop=st.sampled_from([0.1, 0.5]),
)
@settings(max_examples=25, deadline=None)
def test_segments_cover_the_clip_and_not_more(seconds, segment, hop):
    chosen = audio.Settings(segment=segment, hop=hop, rate=4000, mels=10, mfcc=5)
    x = audio.segments(chosen, np.ones(int(seconds * 4000), np.float32))
    end = (len(x) - 1) * hop + segment
    assert end >= seconds - 0.011
    assert len(x) == 1 or end - hop < seconds + 0.011
    assert x.shape[1:] == (1, 10, chosen.frames)


@pytest.mark.parametrize("hz", [300, 1000, 3000])
def test_a_tone_is_in_its_mel_band(run, sound, hz):
    librosa = load_librosa()

    results, _, _ = run("audio", [sound(hz=hz)], {"standardize": False})
    band = int(results[0].x[0, 0].mean(1).argmax())
    centres = librosa.mel_frequencies(n_mels=42, fmin=40, fmax=8000)[1:-1]
    assert abs(band - np.abs(centres - hz).argmin()) <= 1


def test_rates_and_channels_do_not_matter(run, sound):
    cells = [sound(), sound("b.wav", rate=44_100), sound("c.wav", channels=2)]
    results, _, _ = run("audio", cells, {"standardize": False})
    first = results[0].x
    for other in results[1:]:
        assert np.abs(other.x[:, :, :, 5:-5] - first[:, :, :, 5:-5]).mean() < 0.2


def test_training_sound_is_standardized_per_band(run, tmp_path, file):
    rng = np.random.default_rng(0)
    for k in range(4):
        soundfile.write(tmp_path / f"{k}.wav", 0.1 * rng.normal(size=16_000), 16_000)
    results, _, state = run("audio", [file(f"{k}.wav") for k in range(4)])
    assert len(state["mean"]) == 40
    x = np.concatenate([n.x for n in results])
    assert np.abs(x.mean((0, 1, 3))).max() < 1e-3
    assert np.abs(x.std((0, 1, 3)) - 1).max() < 1e-3


def test_mfcc_and_prosody_are_vectors(run, sound):
    cells = [sound("low.wav", hz=110), sound("high.wav", hz=330), sound("no.wav", loud=0)]
    results, spec, _ = run("audio", cells, {"features": "mfcc", "mfcc": 13})
    assert spec.shape == (26,)
    results, spec, _ = run("audio", cells, {"features": "prosody", "standardize": False})
    assert spec.shape == (len(audio.PROSODY),)
    pitch = [2 ** float(n.x[:, 0].mean()) for n in results]
    assert pitch[0] == pytest.approx(110, rel=0.03)
    assert pitch[1] == pytest.approx(330, rel=0.03)
    assert results[2].x[:, 2].tolist() == [0] * len(results[2])  # silence has no voice


def test_sound_of_a_video_is_read(run, tmp_path, file):
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=16_000, layout="mono")
        tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_384) / 16_000)
        frame = av.AudioFrame.from_ndarray(
            tone.astype(np.float32)[None], format="fltp", layout="mono"
        )
        frame.sample_rate = 16_000
        for packet in stream.encode(frame):
            out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    results, _, _ = run("audio", [file("a.mp4")])
    assert len(results[0]) >= 1


def test_bad_sound_is_explained(run, sound, file, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF nothing")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.array([0, np.nan]), 16_000, subtype="FLOAT")
    names = ["bad.wav", "gone.wav", "empty.wav", "nan.wav"]
    results, _, _ = run("audio", [file(n) for n in names], train=[sound()])
    assert "the sound 'bad.wav' cannot be read" in results[0]
    assert results[1] == "the sound 'gone.wav' is not there"
    assert "holds no sound" in results[2]
    assert "NaN" in results[3]
    with pytest.raises(DataError, match="no training row has sound that can be read"):
        run("audio", [file("gone.wav")])
    with pytest.raises(SchemaError, match="one column"):
        run("audio", [(None, None)])
