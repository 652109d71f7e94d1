"""Video as nodes: one picture per frame, at a chosen rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnnfusion.errors import SchemaError
from gnnfusion.features.files import Partial, Value, problem
from gnnfusion.features.frames import read_frames
from gnnfusion.features.image import Settings as ImageSettings
from gnnfusion.features.nodes import Nodes, NodeSpec

VERSION = 1
CHUNK = 16
FIT_ROWS = 0


@dataclass(frozen=True)
class Settings:
    """Settings of a video modality: one column of video files or of folders of pictures.

    Parameters
    ----------
    rate
        Frames per second to take; at each time, the frame that is shown then.
    max_frames
        Most frames of a clip; of a longer one, so many evenly spread over its length.
    size
        Height and width in pixels; one number for a square.
    resize
        ``stretch`` to the size, or ``crop`` the middle of that shape first.
    channels
        3 (red, green, blue) or 1 (grey).
    source_rate
        Frames per second of a folder of pictures, in the natural order of their names.
    """

    rate: float = 2.0
    max_frames: int = 32
    size: int | tuple[int, int] = 64
    resize: str = "stretch"
    channels: int = 3
    source_rate: float = 25.0

    def __post_init__(self) -> None:
        picture = ImageSettings(size=self.size, resize=self.resize, channels=self.channels)
        object.__setattr__(self, "size", picture.size)
        if not (self.rate > 0 and self.source_rate > 0):
            raise SchemaError("rate and source_rate must be more than 0 frames per second")
        if self.max_frames < 1:
            raise SchemaError("max_frames must be at least 1")

    @property
    def picture(self) -> ImageSettings:
        return ImageSettings(size=self.size, resize=self.resize, channels=self.channels)


def reads_files(settings: Settings) -> bool:
    return True


def parallel(settings: Settings) -> bool:
    return True


def fit(settings: Settings, columns: Sequence[str], values: Sequence[Value]) -> dict[str, Any]:
    """Nothing is learned."""
    if len(columns) != 1:
        raise SchemaError("a video modality has one column; make one modality for each")
    return {}


def spec(settings: Settings, state: Mapping[str, Any]) -> NodeSpec:
    """uint8 ``(channels, height, width)``, position ``time`` in seconds from the start."""
    height, width = settings.size  # type: ignore[misc]
    return NodeSpec((settings.channels, height, width), "uint8", ("time",))


def extract(
    settings: Settings, state: Mapping[str, Any], values: Sequence[Value]
) -> list[Nodes | Partial | str]:
    """One node per frame."""
    layout = spec(settings, state)
    out: list[Nodes | Partial | str] = []
    for (cell,) in values:
        if cell is None:
            out.append(Nodes(np.zeros((0, *layout.shape), np.uint8), np.zeros((0, 1), np.float32)))
            continue
        try:
            if not cell.path.exists():
                raise FileNotFoundError(cell.name)
            frames, times = read_frames(cell, settings.rate, settings.source_rate, settings.picture)
        except Exception as error:  # PyAV and Pillow raise many classes for broken files
            out.append(problem("video", cell, error))
            continue
        if len(frames) > settings.max_frames:
            chosen = np.linspace(0, len(frames) - 1, settings.max_frames).round().astype(int)
            frames, times = [frames[i] for i in chosen], [times[i] for i in chosen]
        out.append(Nodes(np.stack(frames), np.array(times, dtype=np.float32)[:, None]))
    return out
