"""``utd_mhad``: 27 actions by Kinect skeleton, inertial sensor and, if asked, depth camera."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from gnnfusion.datasets.tables import need, write_csv, write_schema
from gnnfusion.errors import DataError, UsageError

RAW = "utd_mhad"
VERSION = 4

ACTIONS = (
    "swipe_left", "swipe_right", "wave", "clap", "throw", "cross_arms", "basketball_shoot",
    "draw_x", "draw_circle_cw", "draw_circle_ccw", "draw_triangle", "bowling", "boxing",
    "baseball_swing", "tennis_swing", "arm_curl", "tennis_serve", "push", "knock", "catch",
    "pickup_throw", "jog", "walk", "sit_to_stand", "stand_to_sit", "lunge", "squat",
)  # fmt: skip
"""Actions 1 to 27, in order."""

GROUPS = {
    "gesture": ("swipe_left", "swipe_right", "wave", "clap", "cross_arms", "push", "knock"),
    "drawing": ("draw_x", "draw_circle_cw", "draw_circle_ccw", "draw_triangle"),
    "sport": (
        "throw", "basketball_shoot", "bowling", "boxing", "baseball_swing", "tennis_swing",
        "arm_curl", "tennis_serve", "catch", "pickup_throw",
    ),
    "legs": ("jog", "walk", "sit_to_stand", "stand_to_sit", "lunge", "squat"),
}  # fmt: skip
"""Our own coarser classes: arm gestures, drawing in the air, sport strokes, legs or whole body."""

GROUP_OF = {action: group for group, actions in GROUPS.items() for action in actions}
HIP_CENTRE = 3
"""Joint that coordinates are relative to; joints run head, neck, spine, hip centre, left arm
(shoulder, elbow, wrist, hand), right arm, left leg (hip, knee, ankle, foot), right leg."""
COLUMNS = ("id", "skeleton", "inertial", "action", "action_group", "subject", "trial", "split")
_TRAIN, _VALID = (1, 3, 5), (7,)


def prepare(
    folder: Path,
    raw: Path | None,
    relative: bool = True,
    joints: str = "channels",
    depth: bool = False,
) -> None:
    """Write ``table.csv``, ``skeleton/*.npy``, ``inertial/*.npy`` and, if asked, ``depth.npy``.

    Subjects 1, 3 and 5 train, 7 validates, and the even ones test (the usual protocol trains on
    all odd subjects: 431 and 430 sequences).

    Parameters
    ----------
    relative
        Subtract the hip centre of the first frame from all joints, so that where a person stood
        plays no part.
    joints
        ``channels``: a skeleton file is ``[T, 60]`` and a window of it one node; ``nodes``:
        ``[T, 20, 3]``, a node for each joint and window.
    depth
        Add the depth frames, row-aligned. Eight small pictures of a few people are learned by
        heart: with subjects left out they cost 1.6 points of accuracy.
    """
    if joints not in ("channels", "nodes"):
        raise UsageError(f"joints is {joints!r}; use channels or nodes")
    raw = need(raw, "skeleton_inertial.npz", *(("depth.npz",) if depth else ()))
    with np.load(raw / "skeleton_inertial.npz", allow_pickle=False) as arrays:
        ids, labels = [str(i) for i in arrays["ids"]], arrays["y"]
        skeletons = _cut(arrays["skel"], arrays["skel_len"], "skel")
        inertials = _cut(arrays["iner"], arrays["iner_len"], "iner")
    rows = []
    (folder / "skeleton").mkdir()
    (folder / "inertial").mkdir()
    for i, name in enumerate(ids):
        action, subject, trial = (int(v) for v in labels[i])
        skeleton = skeletons[i]
        if relative:
            skeleton = skeleton - skeleton[0, HIP_CENTRE]
        if joints == "channels":
            skeleton = skeleton.reshape(len(skeleton), -1)
        np.save(folder / "skeleton" / f"{name}.npy", skeleton.astype(np.float32))
        np.save(folder / "inertial" / f"{name}.npy", inertials[i].astype(np.float32))
        split = "train" if subject in _TRAIN else "valid" if subject in _VALID else "test"
        rows.append(
            {
                "id": name,
                "skeleton": f"skeleton/{name}.npy",
                "inertial": f"inertial/{name}.npy",
                "action": ACTIONS[action - 1],
                "action_group": GROUP_OF[ACTIONS[action - 1]],
                "subject": f"s{subject}",
                "trial": trial,
                "split": split,
            }
        )
    if depth:
        with np.load(raw / "depth.npz", allow_pickle=False) as arrays:
            if [str(i) for i in arrays["ids"]] != ids:
                raise DataError(f"{raw}: depth.npz and skeleton_inertial.npz list other ids")
            np.save(folder / "depth.npy", arrays["depth"])
    else:
        write_schema(folder, "utd_mhad", without="depth")
    write_csv(folder / "table.csv", COLUMNS, rows)


def _cut(flat: np.ndarray, lengths: np.ndarray, what: str) -> list[np.ndarray]:
    """Sequences of an array in which all frames stand one after the other."""
    if int(lengths.sum()) != len(flat):
        raise DataError(f"skeleton_inertial.npz: lengths of {what} do not add up to its rows")
    return np.split(flat, np.cumsum(lengths)[:-1])


INEXACT = ("depth.npz:depth",)
"""Frames are thinned out and scaled; which way the data at hand were is not recorded."""


def assemble(parts: Path, out: Path) -> None:
    """Bring the MATLAB files of the mirror's archive into the raw form."""
    from gnnfusion.datasets.archives import zip_files

    archive = parts / "utd_mhad.zip"
    skeletons = dict(_matlab(zip_files(archive, "Skeleton", ".mat"), "d_skel"))
    inertials = dict(_matlab(zip_files(archive, "Inertial", ".mat"), "d_iner"))
    depths = {n: _thin(d) for n, d in _matlab(zip_files(archive, "Depth", ".mat"), "d_depth")}
    ids = sorted(skeletons)
    if ids != sorted(inertials) or ids != sorted(depths):
        raise DataError("utd_mhad.zip lacks a modality of some sequence; remove it and try again")
    skel = [skeletons[i].transpose(2, 0, 1).astype(np.float32) for i in ids]  # [T, joint, xyz]
    iner = [inertials[i].astype(np.float32) for i in ids]
    np.savez_compressed(
        out / "skeleton_inertial.npz",
        ids=np.array(ids),
        y=np.array([[int(p[1:]) for p in i.split("_")] for i in ids], dtype=np.int16),
        skel=np.concatenate(skel),
        skel_len=np.array([len(s) for s in skel]),
        iner=np.concatenate(iner),
        iner_len=np.array([len(s) for s in iner]),
    )
    depth = np.stack([depths[i] for i in ids])
    np.savez_compressed(out / "depth.npz", ids=np.array(ids), depth=depth)


def _matlab(files: Iterable[tuple[str, bytes]], key: str) -> Iterator[tuple[str, np.ndarray]]:
    """Id (``a1_s1_t1``) and array of each file."""
    import io

    from scipy.io import loadmat

    for name, content in files:
        yield "_".join(name.split("_")[:3]), loadmat(io.BytesIO(content))[key]


def _thin(depth: np.ndarray) -> np.ndarray:
    """Millimetres ``[240, 320, T]`` to 8 even frames ``[8, 60, 80]`` in steps of 16 mm."""
    frames = np.linspace(0, depth.shape[2] - 1, 8).round().astype(int)
    small = depth[::4, ::4, frames].transpose(2, 0, 1)
    return (small // 16).clip(0, 255).astype(np.uint8)
