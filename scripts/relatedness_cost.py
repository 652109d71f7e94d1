"""What do the estimators that read one training cost, next to that training?

    python scripts/relatedness_cost.py planted_v1 planted fsdd_digits

For each data set: its own settings trained without and with probes (`--log_interference`, at the
interval that `relate` takes), then every estimator of one training on the held-out rows, in CPU
seconds on one thread; medians over `--rounds`, in each of which all take turns. Wanted: together,
probes included, at most the training once more. `evidence_given_others`, whose passes grow with the
square of the number of tasks, is in one sum and left out of the other; controls are apart. Writes
docs/results/relatedness_cost.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from parts.estimates import timed_graphs  # scripts/ is where this program lies
from parts.results import write_result

from gnnfusion import TrainConfig, build, datasets
from gnnfusion.relatedness.estimators import ESTIMATORS
from gnnfusion.training.fit import fit
from gnnfusion.training.probes import Probes, probe_interval

QUADRATIC = "evidence_given_others"


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """What a function returns, and its CPU seconds, which other programs do not lengthen."""
    began = time.process_time()
    found = function()
    return found, time.process_time() - began


def study(name: str, folder: Path, rounds: int) -> dict[str, float]:
    """Seconds of the training, of its probes and of every estimator that fits it."""
    store = build(datasets.load(name), folder / name, progress=False)
    config = TrainConfig.from_dict({**datasets.defaults(name), "device": "cpu"})
    every = probe_interval(len(store.schema.tasks))
    fit(store, replace(config, epochs=1), None)  # imports and caches belong to neither
    rows = store.rows("valid", "test")
    methods = [
        m for m, entry in ESTIMATORS.items()
        if entry.needs != "labels" and (m != "evidence" or config.evidence)
    ]  # fmt: skip
    found: list[dict[str, float]] = []
    for turn in range(rounds):
        plain = timed(lambda: fit(store, config, None))[1]
        (network, keeper), probed = timed(
            lambda: fit(store, replace(config, log_interference=every), None)
        )
        took = timed_graphs(
            methods, network, store, rows, 0, Probes.of(keeper.probes),
            lambda line, turn=turn: print(f"{name}, round {turn + 1}: {line}", flush=True),
        )[1]  # fmt: skip
        found.append({"training": plain, "probes": probed - plain, **took})
    return {m: max(0.0, median(seconds[m] for seconds in found)) for m in found[0]}


def main() -> None:
    """Time and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=datasets.names())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in a.names:
            found[name] = study(name, Path(folder), a.rounds)
    methods = list(dict.fromkeys(m for seconds in found.values() for m in seconds))
    rows = [[m, *(found[n].get(m) for n in a.names)] for m in methods]
    for title, without in (("all", ()), ("all but evidence_given_others", (QUADRATIC,))):
        share = [
            sum(v for m, v in found[n].items() if m not in ("training", *without))
            / found[n]["training"]
            for n in a.names
        ]
        rows.append([f"{title}: share of the training", *share])
    write_result(a.out / "relatedness_cost.json",
                 {"columns": ["seconds", *a.names], "rows": rows})  # fmt: skip


if __name__ == "__main__":
    main()
