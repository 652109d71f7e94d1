"""What every feature extractor returns: the nodes of one modality of one sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class NodeSpec:
    """Layout shared by all nodes of a modality.

    Parameters
    ----------
    shape
        Shape of one node's features: ``(F,)`` vector, ``(C, H, W)`` picture or spectrogram,
        ``(C, L)`` window of a series, ``(L,)`` integers for a padded token sequence.
    dtype
        NumPy name of the stored type, e.g. ``float32``, ``uint8``, ``int32``.
    position
        Meaning of the columns of the position array: ``time`` (seconds), ``index`` (order),
        ``row``, ``column``; empty where nodes have no order.
    """

    shape: tuple[int, ...]
    dtype: str
    position: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "dtype": self.dtype, "position": list(self.position)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NodeSpec:
        return cls(tuple(values["shape"]), values["dtype"], tuple(values["position"]))


@dataclass(frozen=True)
class Nodes:
    """Nodes of one modality of one sample.

    Parameters
    ----------
    x
        Features ``[n, *shape]``.
    pos
        Positions ``[n, len(position)]``, float32.
    """

    x: np.ndarray
    pos: np.ndarray

    def __len__(self) -> int:
        return len(self.x)
