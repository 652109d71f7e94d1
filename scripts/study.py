"""Train a data set's chosen settings over several seeds, beside a tuned linear baseline.

    python scripts/study.py mosi --seeds 3
    python scripts/study.py planted_v1 --seeds 5

Writes docs/results/NAME.json (figures, seeds, versions, command) and prints the table that
docs/results.md shows. Settings come from datasets/NAME/defaults.yaml; test rows choose nothing.
For planted_v1 each seed is a data set of its own, and the study is of the evidence between tasks.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from gnnfusion import (
    GraphStore,
    Modality,
    Schema,
    Task,
    TaskGraph,
    TrainConfig,
    build,
    datasets,
    train,
)
from gnnfusion.datasets.planted import PlantedArrays
from gnnfusion.errors import UsageError
from gnnfusion.graphs.arrays import store_from_arrays
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.estimators import ESTIMATORS
from gnnfusion.relatedness.estimators.evidence import estimate
from gnnfusion.relatedness.relate import estimate as graph_by
from gnnfusion.show import environment
from gnnfusion.training.baselines import baseline
from gnnfusion.training.evaluate import loss_table, outputs
from gnnfusion.training.objective import sample_losses
from gnnfusion.training.probes import Probes
from gnnfusion.whole import finite, write_json


def study(name: str, seeds: int) -> dict[str, Any]:
    """Scores on test of the chosen settings over seeds, and of the linear baseline."""
    config = datasets.defaults(name)
    with tempfile.TemporaryDirectory() as folder:
        store = build(datasets.load(name), Path(folder) / "store", progress=False)
        runs = []
        for seed in range(seeds):
            settings = TrainConfig.from_dict({**config, "seed": seed})
            run = train(store, Path(folder) / f"run{seed}", settings, logs=False)
            print(f"seed {seed}: {run.metrics['seconds']:.0f} s", flush=True)
            runs.append(run.metrics)
        reader = baseline(store, "linear")["test"]
    rows = []
    for task, metrics in runs[0]["split"]["test"].items():
        for metric in metrics:
            values = [r["split"]["test"][task].get(metric, np.nan) for r in runs]
            rows.append([task, metric, *mean_and_spread(values), reader[task].get(metric)])
    return {
        "settings": config,
        "seconds_per_seed": [r["seconds"] for r in runs],
        "columns": ["task", "metric", "mean", "sd over seeds", "linear baseline"],
        "rows": rows,
        "per_seed": [r["split"]["test"] for r in runs],
    }


def exam(seeds: int) -> dict[str, Any]:
    """The planted exam: does evidence on held-out rows find the related ordered pairs?"""
    rows = []
    config = datasets.defaults("planted_v1")
    for seed in range(seeds):
        truth = np.array(datasets.planted_arrays("planted_v1", seed=seed).truth["related"])
        with tempfile.TemporaryDirectory() as folder:
            store = build(
                datasets.load("planted_v1", seed=seed), Path(folder) / "store", progress=False
            )
            settings = TrainConfig.from_dict({**config, "seed": seed})
            run = train(store, Path(folder) / "run", settings, logs=False)
            network, test = run.network("cpu"), store.rows("test")
            graph = estimate(network, store, test, seed)
            off = ~np.eye(len(truth), dtype=bool)
            half = torch.rand(len(truth), generator=torch.Generator().manual_seed(seed)) < 0.5
            told = outputs(network, store, test, lambda masks, h=half: masks & h)
            hidden = [
                t for t, shown in zip(store.schema.task_names, half, strict=True) if not shown
            ]
            nothing = float(loss_table(network, store, test)[:, ~half.numpy()].mean())
            knowing = float(np.mean([
                sample_losses(network.head(t), told[t], store.target(t)[test]).mean().item()
                for t in hidden
            ]))  # fmt: skip
        auroc = float(roc_auc_score(truth[off], graph.value[off]))
        rows.append([seed, auroc, nothing, knowing])
        print(rows[-1], flush=True)
    return {
        "settings": config,
        "columns": ["data seed", "AUROC of related pairs", "loss, nothing known",
                    "loss, half of the other labels known"],
        "rows": rows,
        "mean_auroc": float(np.mean([r[1] for r in rows])),
    }  # fmt: skip


def load_frozen(name: str, **options: Any) -> Schema:
    """A data set's schema; MOSI's without the text model that is trained further, which takes
    minutes where the rest takes seconds."""
    return datasets.load(name, **({"tune": False} if name == "mosi" else {}), **options)


def drawn_on_train(
    store: GraphStore, columns: int, share: float, draw: torch.Generator
) -> torch.Tensor:
    """Marks on training rows alone, each with this probability, bool ``[S, columns]``."""
    train = (store.split == 0).unsqueeze(1)
    return (torch.rand(len(store), columns, generator=draw) < share) & train


def timed_graphs(
    methods: Iterable[str], network: FusionNetwork, store: GraphStore, rows: torch.Tensor,
    seed: int, probes: Probes | None, say: Callable[[str], None] = lambda line: None,
    labelled: torch.Tensor | None = None,
) -> tuple[dict[str, TaskGraph], dict[str, float]]:  # fmt: skip
    """Task graphs of one network by the methods that fit it, and what each took in seconds.

    `say` is called with a line on each, with the reason for one that does not fit. `labelled` are
    the rows for methods that use no network, if others.
    """
    graphs, seconds = {}, {}
    for method in methods:
        start = time.perf_counter()
        free = labelled is not None and ESTIMATORS[method].needs == "labels"
        try:
            graphs[method] = graph_by(
                method, network, store, labelled if free else rows, seed, probes
            )
        except UsageError as error:
            say(f"no {method}: {error}")
            continue
        seconds[method] = time.perf_counter() - start
        say(f"{method} {seconds[method]:.2f} s")
    return graphs, seconds


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation; that of one value is 0."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def planted_store(data: PlantedArrays) -> GraphStore:
    """Planted arrays as a store in memory: what building their files gives, without the files."""
    schema = Schema(
        modalities=tuple(Modality(name=m, kind="array", columns=(m,)) for m in data.x),
        tasks=tuple(Task(name=t, kind="regression") for t in data.y),
    )
    nodes = {}
    for m, x in data.x.items():
        known = x[data.present[m] & (data.split == 0)]
        scaled = ((x - known.mean((0, 1))) / known.std((0, 1))).astype(np.float32)
        nodes[m] = [v if there else v[:0] for v, there in zip(scaled, data.present[m], strict=True)]
    targets = {t: np.where(data.mask[t], y, np.nan) for t, y in data.y.items()}
    return store_from_arrays(schema, nodes, targets, split=data.split)


def markdown(columns: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table."""
    cells = [[f"{v:.4f}" if isinstance(v, float) else str(v if v is not None else "") for v in r]
             for r in rows]  # fmt: skip
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write a study's figures with the command and versions that gave them; print its table."""
    write_json(path, finite({**result, **provenance()}))
    print(markdown(result["columns"], result["rows"]))


def provenance() -> dict[str, Any]:
    """The command that runs, without folders of this machine, and the versions it runs with."""
    kept = ("gnnfusion", "python", "torch", "torch-geometric")
    versions = {k: v for k, v in environment().items() if k in kept}
    words: list[str] = []
    for word in sys.argv:
        if len(words) and Path(word).is_absolute():
            words.pop()  # the option that names it
        else:
            words.append(word)
    return {"command": " ".join(["python", *words]), "versions": versions}


def main() -> None:
    """Parse, study, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=datasets.names())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    a = parser.parse_args()
    result = exam(a.seeds) if a.name == "planted_v1" else study(a.name, a.seeds)
    write_result(a.out / f"{a.name}.json", result)


if __name__ == "__main__":
    main()
