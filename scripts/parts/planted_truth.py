"""What is known of planted arrays: how alike the targets are without their noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def alike(truth: Mapping[str, Any]) -> np.ndarray:
    """Squared correlation of the noiseless targets ``[T, T]``: of loadings of length 1, their
    squared product."""
    loadings = np.array(truth["loadings"])
    found: np.ndarray = (loadings @ loadings.T) ** 2
    return found


def noise_tasks(truth: Mapping[str, Any], tasks: tuple[str, ...]) -> np.ndarray:
    """Which tasks are pure noise, bool ``[T]``: they are no target."""
    return np.isin(tasks, truth["noise_tasks"])
