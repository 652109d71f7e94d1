"""The settings that a comparison prefers, for a training that picks its method by itself."""

from __future__ import annotations

from pathlib import Path

from gnnfusion.graphs.store import GraphStore
from gnnfusion.training.compare.compare import compare
from gnnfusion.training.compare.plan import with_settings
from gnnfusion.training.compare.pool import Say
from gnnfusion.training.config import TrainConfig

FUSIONS = ("concat", "gated", "transformer", "sage", "gatv2")
"""One of every kind: none, weights of modalities, attention over all nodes, and two on graphs."""


def choose_settings(
    store: GraphStore,
    out: str | Path,
    base: TrainConfig,
    *,
    budget: float | None = None,
    jobs: int | None = None,
    say: Say | None = None,
) -> tuple[TrainConfig, str]:
    """Settings of the method that validation prefers among `FUSIONS`, and the verdict.

    Parameters
    ----------
    store
        Samples.
    out
        Folder of the comparison, which goes on from there when called again.
    base
        What all methods share; its seed and device are kept.
    budget, jobs, say
        As in `compare`, which raises what is wrong.
    """
    result = compare(
        store, out, fusions=FUSIONS, seeds=1, base=base, budget=budget, jobs=jobs, say=say
    )
    best = result["best"]
    config = TrainConfig.from_dict(
        {**result["configs"][best], "seed": base.seed, "device": base.device}
    )
    return with_settings(config, result["settings"][best]), result["verdict"]
