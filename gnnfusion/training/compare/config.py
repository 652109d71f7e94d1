"""Settings of a search for task weights; plain values, so that the command line reads them without
torch."""

from __future__ import annotations

from dataclasses import dataclass

from gnnfusion.errors import UsageError

SAMPLERS = ("auto", "grid", "optuna", "random")

BASELINES = ("linear", "boosting")
"""Simple readers; `gnnfusion.training.baselines` says what they are."""


@dataclass(frozen=True, kw_only=True)
class WeightSearch:
    """How weights of the tasks' losses are searched by cross-validation over train + valid.

    Parameters
    ----------
    candidates
        Weight vectors tried at most, those of the schema and equal ones among them.
    folds
        Parts into which the rows of train and valid are cut; each vector is trained once for each.
    sampler
        Where vectors come from: grid (every task a quarter, once or four times), optuna (its TPE
        sampler; the extra [search]), random (within a factor of 8 either way), or auto: the grid
        where it is small enough, else optuna where it is installed, else random.
    """

    candidates: int = 20
    folds: int = 3
    sampler: str = "auto"

    def __post_init__(self) -> None:
        for name in ("candidates", "folds"):
            if getattr(self, name) < 2:
                raise UsageError(f"weights.{name} must be at least 2, not {getattr(self, name)}")
        if self.sampler not in SAMPLERS:
            raise UsageError(
                f"unknown weights.sampler {self.sampler!r}; use one of {', '.join(SAMPLERS)}"
            )
