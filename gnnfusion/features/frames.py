"""Frames of a clip, from a video file or a folder of pictures, at a chosen rate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gnnfusion.features.files import File
from gnnfusion.features.image import Settings as ImageSettings
from gnnfusion.features.image import read_picture, to_size

_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}


def read_frames(
    file: File, rate: float, source_rate: float, picture: ImageSettings
) -> tuple[list[np.ndarray], list[float]]:
    """Frames uint8 ``[channels, height, width]`` shown at times 0, 1/rate, 2/rate, ... (seconds).

    Raises
    ------
    ValueError
        There is no frame in it.
    """
    if file.path.is_dir():
        return _from_folder(file, rate, source_rate, picture)
    frames, times = [], []
    for time, frame in _at_rate(_decode(file.path, picture), rate):
        frames.append(frame)
        times.append(time)
    if not frames:
        raise ValueError("it has no frame")
    return frames, times


def _from_folder(
    file: File, rate: float, source_rate: float, picture: ImageSettings
) -> tuple[list[np.ndarray], list[float]]:
    names = sorted(
        (p.name for p in file.path.iterdir() if p.suffix.lower() in _PICTURES), key=_natural
    )
    if not names:
        raise ValueError("the folder has no picture")
    chosen: list[int] = []
    times: list[float] = []
    while (i := int(len(chosen) / rate * source_rate + 1e-6)) < len(names):
        times.append(len(chosen) / rate)
        chosen.append(i)
    inner = [File(str(file.path), names[i]) for i in chosen]
    return [read_picture(f, picture) for f in inner], times


def _natural(name: str) -> list[tuple[int, str]]:
    """frame2 before frame10."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)]


def _decode(path: Path, picture: ImageSettings) -> Iterator[tuple[float, float, object]]:
    """(start, end, frame) of each frame in seconds; the clip starts at 0."""
    import av

    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("it has no video stream")
        stream = container.streams.video[0]
        stream.thread_count = 1
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        first = None
        for n, frame in enumerate(container.decode(stream)):
            time = float(frame.time) if frame.time is not None else n / rate
            first = time if first is None else first
            yield time - first, time - first + 1 / rate, _Lazy(frame, picture)


class _Lazy:
    """A decoded frame that is converted and resized only if it is chosen."""

    def __init__(self, frame: object, picture: ImageSettings) -> None:
        self._frame, self._picture = frame, picture

    def array(self) -> np.ndarray:
        size = self._picture.size
        assert not isinstance(size, int)
        image = self._frame.to_image()  # type: ignore[attr-defined]
        turn = int(getattr(self._frame, "rotation", 0) or 0)
        if turn % 360:
            image = image.rotate(turn, expand=True)
        if self._picture.channels == 1:
            image = image.convert("L")
        return to_size(image, size, self._picture.resize, self._picture.channels)


def _at_rate(
    frames: Iterator[tuple[float, float, object]], rate: float
) -> Iterator[tuple[float, np.ndarray]]:
    """At each time k / rate, the frame that is shown then."""
    shown: _Lazy | None = None
    end, count = 0.0, 0
    for start, stop, frame in frames:
        while shown is not None and count / rate < start - 1e-6:
            yield count / rate, shown.array()
            count += 1
        shown, end = frame, stop  # type: ignore[assignment]
    while shown is not None and count / rate < end - 1e-6:
        yield count / rate, shown.array()
        count += 1
