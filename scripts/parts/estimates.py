"""Task graphs of one network by many methods, each with its seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import torch

from gnnfusion import GraphStore, TaskGraph
from gnnfusion.errors import UsageError
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.estimators import ESTIMATORS
from gnnfusion.relatedness.relate import estimate
from gnnfusion.training.probes import Probes


def timed_graphs(
    methods: Iterable[str], network: FusionNetwork, store: GraphStore, rows: torch.Tensor,
    seed: int, probes: Probes | None, say: Callable[[str], None] = lambda line: None,
    labelled: torch.Tensor | None = None,
) -> tuple[dict[str, TaskGraph], dict[str, float]]:  # fmt: skip
    """Task graphs of one network by the methods that fit it, and what each took in CPU seconds.

    `say` is called with a line on each, with the reason for one that does not fit. `labelled` are
    the rows for methods that `reads_training_rows`, if others.
    """
    graphs, seconds = {}, {}
    for method in methods:
        start = time.process_time()
        free = labelled is not None and ESTIMATORS[method].reads_training_rows
        try:
            graphs[method] = estimate(
                method, network, store, labelled if free else rows, seed, probes
            )
        except UsageError as error:
            say(f"no {method}: {error}")
            continue
        seconds[method] = time.process_time() - start
        say(f"{method} {seconds[method]:.2f} s")
    return graphs, seconds
