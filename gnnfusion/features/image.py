"""Pictures as nodes: whole, or cut into a grid of patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnnfusion.errors import SchemaError
from gnnfusion.features.files import File, Partial, Value, problem
from gnnfusion.features.nodes import Nodes, NodeSpec

VERSION = 1
CHUNK = 64
FIT_ROWS = 0


@dataclass(frozen=True)
class Settings:
    """Settings of an image modality.

    Parameters
    ----------
    size
        Height and width in pixels that pictures are brought to; one number for a square.
    resize
        ``stretch`` to the size, or ``crop`` the middle of that shape first.
    grid
        Rows and columns of patches, one node each; None: the whole picture is one node.
    channels
        3 (red, green, blue) or 1 (grey).
    """

    size: int | tuple[int, int] = 64
    resize: str = "stretch"
    grid: tuple[int, int] | None = None
    channels: int = 3

    def __post_init__(self) -> None:
        size = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        object.__setattr__(self, "size", size)
        if len(size) != 2 or min(size) < 1:
            raise SchemaError("size must be one number of pixels or [height, width]")
        if self.resize not in ("stretch", "crop"):
            raise SchemaError(f"resize is {self.resize!r}; use stretch or crop")
        if self.channels not in (1, 3):
            raise SchemaError("channels must be 1 or 3")
        if self.grid is not None:
            grid = tuple(self.grid)
            object.__setattr__(self, "grid", grid)
            if len(grid) != 2 or min(grid) < 1 or size[0] % grid[0] or size[1] % grid[1]:
                raise SchemaError(f"grid {list(grid)} does not divide the size {list(size)}")


def reads_files(settings: Settings) -> bool:
    return True


def parallel(settings: Settings) -> bool:
    return True


def fit(settings: Settings, columns: Sequence[str], values: Sequence[Value]) -> dict[str, Any]:
    """How many pictures a row has, and their names; nothing is learned."""
    return {"pictures": list(columns)}


def spec(settings: Settings, state: Mapping[str, Any]) -> NodeSpec:
    """uint8 ``(channels, height, width)`` of a picture or patch.

    Positions: ``picture`` (which column) where there are several, ``row, column`` with a grid.
    """
    height, width = _size(settings)
    rows, columns = settings.grid or (1, 1)
    position = (("picture",) if len(state["pictures"]) > 1 else ()) + (
        ("row", "column") if settings.grid else ()
    )
    return NodeSpec((settings.channels, height // rows, width // columns), "uint8", position)


def extract(
    settings: Settings, state: Mapping[str, Any], values: Sequence[Value]
) -> list[Nodes | Partial | str]:
    """Nodes of each row's pictures; a picture that cannot be read leaves the others."""
    return [_row(settings, spec(settings, state), value) for value in values]


def _row(settings: Settings, layout: NodeSpec, value: Value) -> Nodes | Partial | str:
    pictures, which, problems = [], [], []
    for c, cell in enumerate(value):
        if cell is None:
            continue
        try:
            pictures.append(read_picture(cell, settings))
            which.append(c)
        except Exception as error:  # Pillow raises many classes for what it cannot read
            problems.append((c, problem("image", cell, error)))
    if not pictures and len(problems) == 1 and len(value) == 1:
        return problems[0][1]
    nodes = _nodes(settings, layout, pictures, which)
    return Partial(nodes, tuple(problems)) if problems else nodes


def _nodes(
    settings: Settings, layout: NodeSpec, pictures: list[np.ndarray], which: list[int]
) -> Nodes:
    rows, columns = settings.grid or (1, 1)
    channels, h, w = layout.shape
    if not pictures:
        return Nodes(
            np.zeros((0, *layout.shape), np.uint8), np.zeros((0, len(layout.position)), np.float32)
        )
    x = np.stack(pictures).reshape(len(pictures), channels, rows, h, columns, w)
    x = x.transpose(0, 2, 4, 1, 3, 5).reshape(-1, channels, h, w)
    place = np.stack(
        np.meshgrid(which, np.arange(rows), np.arange(columns), indexing="ij"), -1
    ).reshape(-1, 3)
    chosen = [("picture", "row", "column").index(name) for name in layout.position]
    return Nodes(np.ascontiguousarray(x), place[:, chosen].astype(np.float32))


def read_picture(file: File, settings: Settings) -> np.ndarray:
    """A picture file as uint8 ``[channels, height, width]``, turned as its EXIF data says."""
    from PIL import Image, ImageOps

    height, width = _size(settings)
    with Image.open(file.path) as opened:
        mode = "RGB" if settings.channels == 3 else "L"
        # JPEG can be decoded at a fraction of its size; twice the target keeps the resize sharp.
        opened.draft(mode, (width * 2, height * 2))
        picture = ImageOps.exif_transpose(opened)
        if picture.mode.startswith("I;16") or picture.mode == "I":
            # 16-bit grey: Pillow's own conversion clips at 255.
            data = np.asarray(picture).astype(np.int64) >> 8
            picture = Image.fromarray(np.clip(data, 0, 255).astype(np.uint8))
        if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA"):
            behind = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(behind, picture.convert("RGBA"))
        picture = picture.convert(mode)
    return to_size(picture, (height, width), settings.resize, settings.channels)


def to_size(picture: Any, size: tuple[int, int], resize: str, channels: int) -> np.ndarray:
    """A Pillow picture resized with antialiasing, as uint8 ``[channels, height, width]``."""
    from PIL import Image

    height, width = size
    box = None
    if resize == "crop":
        scale = min(picture.width / width, picture.height / height)
        left = (picture.width - scale * width) / 2
        top = (picture.height - scale * height) / 2
        box = (left, top, left + scale * width, top + scale * height)
    if picture.size != (width, height) or box is not None:
        picture = picture.resize((width, height), Image.Resampling.BILINEAR, box=box)
    data = np.asarray(picture)
    return data[None] if channels == 1 else data.transpose(2, 0, 1)


def _size(settings: Settings) -> tuple[int, int]:
    size = settings.size
    return (size, size) if isinstance(size, int) else size
