"""Tell what kind of media a file is by opening it."""

from __future__ import annotations

from pathlib import Path

KIND_OF_ENDING = {
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"), "image"),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif", ".m4v", ".mpg"), "video"),
    **dict.fromkeys((".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aiff", ".opus"), "audio"),
    **dict.fromkeys((".csv", ".tsv", ".parquet"), "series"),
    **dict.fromkeys((".npy", ".npz"), "array"),
    ".txt": "text",
}


def try_open(path: Path) -> str | None:
    """Modality kind of a file or of a folder of pictures; None if it is not there or broken."""
    try:
        if path.is_dir():
            endings = [KIND_OF_ENDING.get(p.suffix.lower()) for p in path.iterdir()]
            return "video" if "image" in endings else None
        kind = KIND_OF_ENDING.get(path.suffix.lower())
        if kind is None or not path.is_file():
            return None
        _OPEN[kind](path)
    except Exception:  # every library has its own classes for files it cannot read
        return None
    return kind


def _image(path: Path) -> None:
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()


def _video(path: Path) -> None:
    import av

    with av.open(str(path)) as container:
        next(container.decode(video=0))


def _audio(path: Path) -> None:
    import soundfile

    try:
        soundfile.info(path)
    except soundfile.LibsndfileError:
        import av

        with av.open(str(path)) as container:
            next(container.decode(audio=0))


def _table(path: Path) -> None:
    import pandas as pd

    if path.suffix.lower() == ".parquet":
        pd.read_parquet(path)
    else:
        pd.read_csv(path, sep=None, engine="python", nrows=5)


def _array(path: Path) -> None:
    import numpy as np

    found = np.load(path, mmap_mode="r", allow_pickle=False)
    if path.suffix.lower() == ".npz":
        found.close()


def _text(path: Path) -> None:
    path.read_text(encoding="utf-8-sig")


_OPEN = {
    "image": _image, "video": _video, "audio": _audio, "series": _table, "array": _array,
    "text": _text,
}  # fmt: skip
