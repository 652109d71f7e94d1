"""Draw, sound and say one planted clip: frames, a waveform, a sentence."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIZE = 48
RATE = 8
FRAMES = 9  # odd: at 8 and at 4 frames a second, one of them is the middle
SOUND_RATE = 8000
SECONDS = FRAMES / RATE

LOOKS = ("ball", "crate", "kite")
"""What the object looks like: a red disc, a blue square, a yellow diamond."""
_COLOURS = np.array([[210, 60, 50], [50, 90, 215], [220, 200, 50]], dtype=float)


@dataclass(frozen=True)
class Thing:
    """A drawn object; lengths are shares of the frame, times in seconds.

    Parameters
    ----------
    look
        Index into `LOOKS`.
    x, y
        Centre in the middle frame.
    width, height
        Of its bounding box.
    speed, angle
        Frame widths a second, and direction in radians.
    """

    look: int
    x: float
    y: float
    width: float
    height: float
    speed: float = 0.0
    angle: float = 0.0

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 in the middle frame."""
        w, h = self.width / 2, self.height / 2
        return self.x - w, self.y - h, self.x + w, self.y + h

    def centre(self, frame: int) -> tuple[float, float]:
        """Centre in a frame; it bounces off the edges."""
        t = (frame - FRAMES // 2) / RATE * self.speed
        return (
            _bounce(self.x + t * np.cos(self.angle), self.width / 2),
            _bounce(self.y + t * np.sin(self.angle), self.height / 2),
        )


def _bounce(at: float, margin: float) -> float:
    room = 1 - 2 * margin
    phase = (at - margin) % (2 * room)
    return margin + (phase if phase <= room else 2 * room - phase)


def draw(things: list[Thing], contrast: float, rng: np.random.Generator) -> np.ndarray:
    """Frames uint8 ``[FRAMES, SIZE, SIZE, 3]`` of things over a textured ground.

    `contrast` in (0, 1] is how far things stand out from the ground.
    """
    coarse = rng.uniform(80, 140, (8, 8, 1)) + rng.uniform(-12, 12, (8, 8, 3))
    ground = np.kron(coarse, np.ones((SIZE // 8, SIZE // 8, 1)))
    ground = ground + rng.normal(0, 8, (SIZE, SIZE, 1))
    edge = (np.arange(SIZE) + 0.5) / SIZE
    frames = np.empty((FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    for f in range(FRAMES):
        picture = ground.copy()
        for thing in things:
            x, y = thing.centre(f)
            u = (edge[None, :] - x) / (thing.width / 2)
            v = (edge[:, None] - y) / (thing.height / 2)
            inside = _inside(thing.look, u, v)[..., None] * contrast
            picture = picture * (1 - inside) + _COLOURS[thing.look] * inside
        picture += rng.normal(0, 4, picture.shape)
        frames[f] = picture.clip(0, 255).astype(np.uint8)
    return frames


def _inside(look: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    if look == 0:
        return u**2 + v**2 <= 1
    if look == 1:
        return (np.abs(u) <= 1) & (np.abs(v) <= 1)
    return np.abs(u) + np.abs(v) <= 1


def write_video(frames: np.ndarray, path: Path) -> None:
    """Write an MP4 (MPEG-4 part 2, which every FFmpeg build has; one thread, so same bytes)."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.bit_rate = 400_000
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            for packet in stream.encode(picture):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def sound(
    noisy: bool, pitch: float, decibel: float, tempo: float, rng: np.random.Generator
) -> np.ndarray:
    """Beats of a tone or of noise, float ``[n]`` in -1 .. 1.

    Parameters
    ----------
    noisy
        Noise instead of a tone.
    pitch
        Frequency of the tone in Hz.
    decibel
        Level of the beats against full scale.
    tempo
        Beats a second.
    """
    t = np.arange(int(SECONDS * SOUND_RATE)) / SOUND_RATE
    phase = (t * tempo + rng.uniform()) % 1
    beats = np.exp(-4 * phase)
    if noisy:
        carrier = rng.standard_normal(len(t)) / 3
    else:
        carrier = np.sin(2 * np.pi * pitch * t + rng.uniform(0, 2 * np.pi))
    hum = 0.003 * rng.standard_normal(len(t))
    return (10 ** (decibel / 20) * beats * carrier + hum).clip(-1, 1)


def write_sound(samples: np.ndarray, path: Path) -> None:
    """Write a 16-bit mono WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())


_MOODS = (
    ("awful", "grim", "dreadful"), ("dull", "tired", "gloomy"), ("plain", "common", "ordinary"),
    ("pleasant", "nice", "cheerful"), ("wonderful", "splendid", "delightful"),
)  # fmt: skip
_LEVELS = (("faint", "hushed"), ("steady", "moderate"), ("loud", "booming"))
_ACROSS = ("left", "middle", "right")
_DOWN = ("top", "centre", "bottom")
_TIMES = ("this morning", "at noon", "in the evening", "last night", "on Tuesday", "today")
_PLACES = ("yard", "station", "harbour", "workshop", "market", "square")
_WATCHERS = ("the guard", "a neighbour", "our camera crew", "someone", "the night shift")
_CLOSINGS = ("nothing else to report", "see the earlier notes", "the door was shut", "as before")


def sentence(valence: float, energy: float, x: float, y: float, rng: np.random.Generator) -> str:
    """A report on the clip: always its mood, sometimes how loud it was and where to look."""
    mood = _pick(_MOODS[int(np.digitize(valence, (-1.2, -0.4, 0.4, 1.2)))], rng)
    parts = [f"{_pick(_TIMES, rng)} {_pick(_WATCHERS, rng)} saw {_article(mood)} {mood} scene"]
    parts[0] += f" in the {_pick(_PLACES, rng)}"
    if rng.random() < 0.6:
        parts.append(f"with a {_pick(_LEVELS[int(np.digitize(energy, (-0.5, 0.5)))], rng)} sound")
    if rng.random() < 0.7:
        parts.append(f"towards the {_ACROSS[int(np.digitize(x, (0.42, 0.58)))]}")
    if rng.random() < 0.7:
        parts.append(f"near the {_DOWN[int(np.digitize(y, (0.42, 0.58)))]}")
    if rng.random() < 0.5:
        parts.append(_pick(_CLOSINGS, rng))
    text = ", ".join(parts)
    return text[0].upper() + text[1:] + "."


def _article(word: str) -> str:
    return "an" if word[0] in "aeio" else "a"


def _pick(words: tuple[str, ...], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]
