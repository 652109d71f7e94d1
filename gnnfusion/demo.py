"""The tour: planted clips -> store -> training -> scores -> task graphs -> figures."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from gnnfusion import datasets
from gnnfusion.graphs.build import build
from gnnfusion.relatedness.relate import relate
from gnnfusion.report.figures import plot_history
from gnnfusion.report.task_graph_files import write_task_graph
from gnnfusion.show import print_table, score_rows
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.fit import train


def run_demo(out: Path, *, quick: bool = False, seed: int = 0, device: str = "auto") -> None:
    """Run the tour and print a table of scores and the paths of what it made.

    Parameters
    ----------
    out
        Folder for the store, the run and the figures; an earlier demo there is resumed.
    quick
        150 clips and few epochs: shows that everything works, not how well.
    seed
        Of the clips and the training.
    device
        auto, cpu or cuda.
    """
    began = time.perf_counter()
    options: dict[str, Any] = {"seed": seed} | ({"rows": 150} if quick else {})
    schema = datasets.load("planted", **options)
    store = build(schema, out / "store")
    defaults = datasets.defaults("planted")
    defaults["epochs"] = 4 if quick else 20  # a tour of minutes; `train planted` takes more
    # Whatever fusion scores best: the tour shows one whose attention between tasks can be read.
    network = {**defaults.get("network", {}), "fusion": "gatv2"}
    config = TrainConfig.from_dict({**defaults, "network": network, "seed": seed, "device": device})
    print("training ...", flush=True)
    run = train(store, out / "run", config, progress=sys.stderr.isatty())
    rows = [r for r in score_rows(run.metrics) if r[0] == "test"]
    print_table(["split", "task", "metric", "no label known", "others known"], rows)
    made: dict[str, Path] = {}
    for method in ("evidence", "labels", "attention"):
        graph = relate(run, method, seed=seed, device=device)
        made |= write_task_graph(graph, run.path)
    made["history"] = run.path / "figures" / "history.png"
    plot_history(run.history, made["history"])
    print(f"{'store':24}{store.path}\n{'run':24}{run.path}")
    for name, path in made.items():
        print(f"{name:24}{path}")
    print(f"{time.perf_counter() - began:.0f} s in all")
