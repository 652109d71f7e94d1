"""Sound as nodes: one per segment, as a log-mel picture, MFCC statistics or prosody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnnfusion.errors import DataError, SchemaError
from gnnfusion.features.arrays import fit_moments, standardize
from gnnfusion.features.files import File, Partial, Value, problem
from gnnfusion.features.load_librosa import load_librosa
from gnnfusion.features.nodes import Nodes, NodeSpec

VERSION = 1
CHUNK = 32
FIT_ROWS = 128

_FLOOR = 1e-6  # power below which sound counts as silence: -60 dB of full scale


@dataclass(frozen=True)
class Settings:
    """Settings of an audio modality: one column of sound files.

    Parameters
    ----------
    rate
        Samples per second that sound is brought to; several channels become their mean.
    features
        ``logmel``: node features ``(1, mels, frames)``, natural logarithm of mel power;
        ``mfcc``: ``(2 * mfcc,)``, mean and deviation over the segment;
        ``prosody``: ``(8,)``, see `PROSODY`.
    segment, hop
        Length of a segment and time between the starts of two, in seconds. Segments start at
        0, hop, 2 hop, ... until the end is covered; the last is filled with silence.
    window, step
        Length of an analysis frame and time between two, in seconds.
    mels, mfcc
        Number of mel bands and of cepstral coefficients.
    fmin, fmax
        Lowest and highest frequency in Hz; `fmax` None is half of `rate`. For prosody, the range
        of the pitch is 60 to 500 Hz within these.
    max_segments
        Most segments of a clip; what follows is cut. None: all.
    standardize
        Subtract the training mean and divide by the deviation, per mel band or coefficient.
    """

    rate: int = 16_000
    features: str = "logmel"
    segment: float = 1.0
    hop: float = 0.5
    window: float = 0.025
    step: float = 0.010
    mels: int = 40
    mfcc: int = 20
    fmin: float = 40.0
    fmax: float | None = None
    max_segments: int | None = None
    standardize: bool = True

    def __post_init__(self) -> None:
        if self.features not in ("logmel", "mfcc", "prosody"):
            raise SchemaError(f"features is {self.features!r}; use logmel, mfcc or prosody")
        if min(self.rate, self.segment, self.hop, self.window, self.step) <= 0:
            raise SchemaError("rate, segment, hop, window and step must be more than 0")
        if self.segment < self.window:
            raise SchemaError("segment must be at least as long as window")
        if not 0 <= self.fmin < self.top <= self.rate / 2:
            raise SchemaError("fmin and fmax must lie between 0 and half of rate")
        if min(self.mels, self.mfcc) < 1 or self.mfcc > self.mels:
            raise SchemaError("mels and mfcc must be at least 1, and mfcc at most mels")

    @property
    def top(self) -> float:
        return self.rate / 2 if self.fmax is None else self.fmax

    @property
    def frames(self) -> int:
        """Analysis frames of a segment."""
        return max(1, round(self.segment / self.step))

    @property
    def frame_step(self) -> int:
        """Samples between two analysis frames."""
        return max(1, round(self.step * self.rate))

    @property
    def frame_hop(self) -> int:
        """Analysis frames between the starts of two segments."""
        return max(1, round(self.hop / self.step))


PROSODY = (
    "pitch mean", "pitch deviation", "voiced share", "energy mean", "energy deviation",
    "zero crossings mean", "zero crossings deviation", "energy slope",
)  # fmt: skip
"""Features of ``prosody``. Pitch is log2 of Hz over frames with sound (0 where there is none),
by YIN (de Cheveigne and Kawahara, 2002); energy is log power; the slope is per second."""


def reads_files(settings: Settings) -> bool:
    return True


def parallel(settings: Settings) -> bool:
    return True


def fit(settings: Settings, columns: Sequence[str], values: Sequence[Value]) -> dict[str, Any]:
    """Training mean and deviation of each mel band or coefficient."""
    if len(columns) != 1:
        raise SchemaError("an audio modality has one column; make one modality for each")
    if not settings.standardize:
        return {}
    found = [_features(settings, cell) for (cell,) in values if cell is not None]
    nodes = [x for x in found if isinstance(x, np.ndarray)]
    if not nodes:
        first = next((x for x in found if isinstance(x, str)), "all are empty")
        raise DataError(f"no training row has sound that can be read ({first})")
    if settings.features == "logmel":  # [n, 1, mels, frames]: statistics per band
        nodes = [x[:, 0].transpose(0, 2, 1).reshape(-1, settings.mels) for x in nodes]
    return fit_moments(nodes, nodes[0].shape[1:])


def spec(settings: Settings, state: Mapping[str, Any]) -> NodeSpec:
    """Features as the settings say; position ``time``, the segment's middle in seconds."""
    shapes = {
        "logmel": (1, settings.mels, settings.frames),
        "mfcc": (2 * settings.mfcc,),
        "prosody": (len(PROSODY),),
    }
    return NodeSpec(shapes[settings.features], "float32", ("time",))


def extract(
    settings: Settings, state: Mapping[str, Any], values: Sequence[Value]
) -> list[Nodes | Partial | str]:
    """One node per segment; a short clip is filled with silence to one segment."""
    layout = spec(settings, state)
    out: list[Nodes | Partial | str] = []
    for (cell,) in values:
        if cell is None:
            out.append(
                Nodes(np.zeros((0, *layout.shape), np.float32), np.zeros((0, 1), np.float32))
            )
            continue
        x = _features(settings, cell)
        if isinstance(x, str):
            out.append(x)
            continue
        if settings.features == "logmel":
            x = _per_band(x, state)
        else:
            x = standardize(x, state)
        step = settings.frame_step / settings.rate
        starts = np.arange(len(x)) * settings.frame_hop * step
        time = (starts + settings.frames * step / 2).astype(np.float32)
        out.append(Nodes(np.ascontiguousarray(x, dtype=np.float32), time[:, None]))
    return out


def _per_band(x: np.ndarray, state: Mapping[str, Any]) -> np.ndarray:
    if "mean" not in state:
        return x
    mean = np.asarray(state["mean"])[:, None]
    std = np.asarray(state["std"])[:, None]
    return (x - mean) / std


def read_sound(file: File, rate: int) -> np.ndarray:
    """A sound file as float32 mono at `rate` samples per second.

    Raises
    ------
    ValueError
        It holds no sound, or NaN.
    """
    import soundfile

    if not file.path.is_file():
        raise FileNotFoundError(file.name)
    try:
        data, source = soundfile.read(file.path, dtype="float32", always_2d=True)
        mono = data.mean(1)
    except soundfile.LibsndfileError:
        mono, source = _read_container(file)  # sound of an .mp4, .m4a, .webm ...
    if not len(mono):
        raise ValueError("it holds no sound")
    if not np.isfinite(mono).all():
        raise ValueError("it holds NaN or infinite samples")
    if source != rate:
        mono = load_librosa().resample(mono, orig_sr=source, target_sr=rate)
    return np.asarray(mono, dtype=np.float32)


def _read_container(file: File) -> tuple[np.ndarray, int]:
    import av

    with av.open(str(file.path)) as container:
        if not container.streams.audio:
            raise ValueError("it has no sound")
        stream = container.streams.audio[0]
        rate = int(stream.rate)
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        blocks = [
            out.to_ndarray().reshape(-1)
            for frame in [*container.decode(stream), None]
            for out in resampler.resample(frame)
        ]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32), rate


def _features(settings: Settings, cell: File) -> np.ndarray | str:
    """Unscaled node features ``[n, *shape]``, or what is wrong with the file."""
    try:
        sound = read_sound(cell, settings.rate)
    except Exception as error:  # soundfile and PyAV raise many classes for broken files
        return problem("sound", cell, error)
    return segments(settings, sound)


def segments(settings: Settings, sound: np.ndarray) -> np.ndarray:
    """Node features of a sound ``[samples]`` at the settings' rate."""
    step, window = settings.frame_step, max(2, round(settings.window * settings.rate))
    hop, frames = settings.frame_hop, settings.frames
    covered = -(-len(sound) // step)
    count = 1 + max(0, -(-(covered - frames) // hop))
    if settings.max_segments is not None:
        count = min(count, settings.max_segments)
    total = (count - 1) * hop + frames
    # Frame k is centred on sample k * step, so half a window of silence comes before the first.
    sound = sound[: total * step]
    sound = np.pad(sound, (window // 2, total * step + window - len(sound)))
    rows = _frame_features(settings, sound, window, total)  # [F, total]
    cut = np.stack([rows[:, k * hop : k * hop + frames] for k in range(count)])
    if settings.features == "logmel":
        return np.asarray(cut[:, None], dtype=np.float32)
    if settings.features == "mfcc":
        return np.concatenate([cut.mean(2), cut.std(2)], 1).astype(np.float32)
    return _prosody(cut, step / settings.rate)


def _frame_features(settings: Settings, sound: np.ndarray, window: int, total: int) -> np.ndarray:
    if settings.features == "prosody":
        return _prosody_frames(settings, sound, total)
    librosa, step = load_librosa(), settings.frame_step
    power = librosa.feature.melspectrogram(
        y=sound,
        sr=settings.rate,
        n_fft=window,
        hop_length=step,
        center=False,
        n_mels=settings.mels,
        fmin=settings.fmin,
        fmax=settings.top,
    )[:, :total]
    logmel = np.log(np.maximum(power, _FLOOR))
    if settings.features == "logmel":
        return logmel
    return librosa.feature.mfcc(S=logmel, n_mfcc=settings.mfcc)


def _prosody_frames(settings: Settings, sound: np.ndarray, total: int) -> np.ndarray:
    """log2 pitch (NaN without sound), log energy and zero-crossing rate, ``[3, total]``."""
    librosa, step = load_librosa(), settings.frame_step
    low, high = max(60.0, settings.fmin), min(500.0, settings.top)
    length = max(4 * step, int(2.2 * settings.rate / low))  # two periods of the lowest pitch
    framed = librosa.util.frame(
        np.pad(sound, (0, length + total * step)), frame_length=length, hop_length=step
    )[:, :total]
    energy = np.log(np.maximum((framed**2).mean(0), _FLOOR))
    crossings = (np.diff(np.signbit(framed), axis=0) != 0).mean(0)
    pitch = librosa.yin(
        np.pad(sound, (0, length + total * step)),
        fmin=low,
        fmax=high,
        sr=settings.rate,
        frame_length=length,
        hop_length=step,
        center=False,
    )[:total]
    # YIN names some pitch for every frame: take it where there is sound, and not at its limits.
    voiced = (energy > np.log(_FLOOR) + 1) & (pitch > low * 1.02) & (pitch < high * 0.98)
    return np.stack([np.where(voiced, np.log2(pitch), np.nan), energy, crossings])


def _prosody(cut: np.ndarray, step: float) -> np.ndarray:
    pitch, energy, crossings = cut[:, 0], cut[:, 1], cut[:, 2]
    voiced = ~np.isnan(pitch)
    count = np.maximum(voiced.sum(1), 1)
    mean = np.where(voiced, pitch, 0).sum(1) / count
    deviation = np.sqrt((np.where(voiced, pitch - mean[:, None], 0) ** 2).sum(1) / count)
    time = (np.arange(cut.shape[2]) - (cut.shape[2] - 1) / 2) * step
    slope = (energy * time).sum(1) / max(float((time**2).sum()), 1e-12)
    parts = [
        mean, deviation, voiced.mean(1), energy.mean(1), energy.std(1),
        crossings.mean(1), crossings.std(1), slope,
    ]  # fmt: skip
    return np.stack(parts, 1).astype(np.float32)
