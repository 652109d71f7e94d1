"""Train a data set's chosen settings over several seeds, beside a tuned linear baseline.

    python scripts/study.py mosi --seeds 15 --members 3
    python scripts/study.py planted_v1 --seeds 5

Writes docs/results/NAME.json (figures, seeds, versions, command) and prints the table that
docs/results.md shows. Settings come from datasets/NAME/defaults.yaml; test rows choose nothing.
Beside single trainings stand averages of `--members` of them (as `gnnfusion predict RUN RUN ...`
averages them), each training in one average. Resumable: finished runs are kept in `--work`.
For planted_v1 each seed is a data set of its own, and the study is of the evidence between tasks.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parts.results import mean_and_spread, write_result  # scripts/ is where this program lies
from sklearn.metrics import roc_auc_score

from gnnfusion import GraphStore, TrainConfig, build, datasets, train
from gnnfusion.relatedness.estimators.evidence import estimate
from gnnfusion.training.baselines import baseline
from gnnfusion.training.ensemble import averaged
from gnnfusion.training.evaluate import (
    loss_table,
    outputs,
    predictions_by_task,
    scores_of_predictions,
)
from gnnfusion.training.objective import sample_losses


def study(name: str, seeds: int, members: int, work: Path) -> dict[str, Any]:
    """Scores on test of the chosen settings over seeds, of averages, and of the linear reader."""
    config = datasets.defaults(name)
    place = work / "store"
    store = (
        GraphStore.open(place)
        if place.exists()
        else build(datasets.load(name), place, progress=False)
    )
    runs, predicted, test = [], [], store.rows("test")
    for seed in range(seeds):
        settings = TrainConfig.from_dict({**config, "seed": seed})
        run = train(store, work / f"run{seed}", settings, logs=False)
        print(f"seed {seed}: {run.metrics['seconds']:.0f} s", flush=True)
        runs.append(run.metrics)
        network = run.network("cpu")
        predicted.append(predictions_by_task(network, store, outputs(network, store, test)))
    parts = [predicted[n : n + members] for n in range(0, seeds, members)]
    together = [
        scores_of_predictions(store, test, averaged(store.schema.tasks, part)) for part in parts
    ]
    reader = baseline(store, "linear")["test"]
    rows = []
    for task, metrics in runs[0]["split"]["test"].items():
        for metric in metrics:
            figures = (
                mean_and_spread([scores[task].get(metric, np.nan) for scores in group])
                for group in ([r["split"]["test"] for r in runs], together)
            )
            rows.append([task, metric, *chain(*figures), reader[task].get(metric)])
    return {
        "settings": config,
        "seconds_per_seed": [r["seconds"] for r in runs],
        "columns": ["task", "metric", "mean", "sd over seeds", f"{members} averaged",
                    f"sd over {len(parts)} averages", "linear baseline"],
        "rows": rows,
        "per_seed": [r["split"]["test"] for r in runs],
        "per_average": together,
    }  # fmt: skip


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


def main() -> None:
    """Parse, study, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=datasets.names())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--members", type=int, help="trainings in an average, 3 by default")
    parser.add_argument("--work", type=Path, default=Path("runs/study"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    a = parser.parse_args()
    if a.name == "planted_v1":
        if a.members is not None:
            parser.error("each seed of planted_v1 is another data set: there is nothing to average")
        result = exam(a.seeds)
    else:
        members = 3 if a.members is None else a.members
        if min(a.seeds, members) < 1 or a.seeds % members:
            parser.error("each training is in one average, so --seeds is a multiple of --members")
        result = study(a.name, a.seeds, members, a.work / a.name)
    write_result(a.out / f"{a.name}.json", result)


if __name__ == "__main__":
    main()
