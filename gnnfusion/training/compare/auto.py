"""The settings that a comparison prefers, for a training that picks its method by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gnnfusion.features.workers import default_workers
from gnnfusion.graphs.store import GraphStore
from gnnfusion.training.compare.compare import compare
from gnnfusion.training.compare.plan import with_settings
from gnnfusion.training.compare.pool import Say
from gnnfusion.training.config import TrainConfig

FUSIONS = ("concat", "gated", "transformer", "sage", "gatv2")
"""One of every kind: none, weights of modalities, attention over all nodes, and two on graphs."""

TRIALS, TRIAL_SECONDS = 6, 60.0


def choose_settings(
    store: GraphStore,
    out: str | Path,
    base: TrainConfig,
    *,
    budget: float | None = None,
    jobs: int | None = None,
    say: Say | None = None,
) -> tuple[TrainConfig, str]:
    """Settings of the method that validation prefers, and the verdict.

    Compared are the fusion of `base` and `FUSIONS`, with its sharing and balancing.

    Parameters
    ----------
    store
        Samples.
    out
        Folder of the comparison, which goes on from there when called again.
    base
        What all methods share; its seed, device and refit are kept.
    budget
        Seconds at most; each training of the comparison gets its share.
    jobs, say
        As in `compare`, which raises what is wrong.
    """
    fusions = tuple(dict.fromkeys((base.network.fusion, *FUSIONS)))
    shared, seconds = base, TRIAL_SECONDS
    if budget is not None:
        # Beside the fusions, the control and one row that is shown labels; half for the search.
        each = budget / 2 * (jobs or default_workers()) / (len(fusions) + 2)
        seconds = min(seconds, each / TRIALS)
        shared = replace(base, max_seconds=min(each, base.max_seconds or each))
    result = compare(
        store, out, fusions=fusions, sharings=(base.network.sharing,),
        balancings=(base.balancing,), seeds=1, trials=TRIALS, trial_seconds=seconds, base=shared,
        baselines=(), budget=budget, jobs=jobs, say=say,
    )  # fmt: skip
    best = result["best"]
    config = replace(
        TrainConfig.from_dict(result["configs"][best]),
        seed=base.seed, device=base.device, refit=base.refit, max_seconds=base.max_seconds,
    )  # fmt: skip
    return with_settings(config, result["settings"][best]), result["verdict"]
