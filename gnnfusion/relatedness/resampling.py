"""Rows drawn at random: with replacement for the bootstrap, without where fewer must do."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def resampled(draws: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of `size` rows is in each bootstrap sample of as many, ``[draws, size]``."""
    places = rng.integers(0, size, (draws, size)) + size * np.arange(draws)[:, None]
    times = np.bincount(places.ravel(), minlength=draws * size)
    return times.reshape(draws, size).astype(np.float64)


def some_rows(rows: Tensor, most: int, rng: np.random.Generator) -> Tensor:
    """All rows, or so many of them in their order."""
    if len(rows) <= most:
        return rows
    return rows[np.sort(rng.choice(len(rows), most, replace=False))]
