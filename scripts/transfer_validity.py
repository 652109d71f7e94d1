"""Does any estimator of relatedness predict what training together does? Measured by training.

    python scripts/transfer_validity.py disjoint overlapping --data_seeds 2 --jobs 2

For each regime of planted data: gains of random groups of 3 to 7 of ten tasks over `--seeds`
trainings each, against the noiseless target on test rows (the truth); one training on all tasks,
from which every estimator predicts each group's gain for each of its tasks (the mean over the
others in the group); and the combined prediction, fitted to the gains of `--measured` groups and
scored on the others. Nothing of the test rows reaches an estimator.

``disjoint``: each of 800 training rows has the label of one task. ``overlapping``: each of 240 rows
has each label with probability 1/3, so about 80 rows a task in both.

Writes docs/results/transfer_REGIME.json. Resumable: finished trainings are kept in `--work`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from study import markdown, provenance  # scripts/ is where this program lies

from gnnfusion import GraphStore, TaskGraph, TrainConfig, build, datasets
from gnnfusion.errors import UsageError
from gnnfusion.relatedness.agreement import (
    oracle_share,
    predicted_gains,
    qap_p,
    spearman,
    z_pearson,
)
from gnnfusion.relatedness.combined import SINGLE_TRAINING, combine, estimable, fit_predictor
from gnnfusion.relatedness.estimators import ESTIMATORS
from gnnfusion.relatedness.estimators.transfer import measure_transfer, sample_groups
from gnnfusion.relatedness.relate import estimate
from gnnfusion.training.fit import fit
from gnnfusion.training.probes import Probes, probe_interval
from gnnfusion.whole import finite, write_json

REGIMES: dict[str, dict[str, Any]] = {
    "disjoint": {"label_pattern": "disjoint", "label_missing": 0.9, "train": 800, "valid": 200},
    "overlapping": {"label_pattern": "random", "label_missing": 2 / 3, "train": 240, "valid": 240},
}
SETTINGS = {"epochs": 15, "patience": 15, "batch_size": 64, "lr": 4e-3, "refit": False}


def graphs_of(
    store: GraphStore, config: TrainConfig
) -> tuple[dict[str, TaskGraph], dict[str, float]]:
    """Task graphs by method from one training on all tasks, and their seconds."""
    every = probe_interval(len(store.schema.tasks))
    start = time.perf_counter()
    network, keeper = fit(store, replace(config, log_interference=every), None)
    seconds = {"training with probes": time.perf_counter() - start}
    graphs = {}
    for method in ESTIMATORS:
        start = time.perf_counter()
        try:
            graphs[method] = estimate(
                method, network, store, store.rows("valid"), config.seed, Probes.of(keeper.probes)
            )
        except UsageError:
            continue
        seconds[method] = time.perf_counter() - start
    graphs = estimable(graphs)
    graphs["combined"] = combine({m: graphs[m] for m in SINGLE_TRAINING if m in graphs})
    return graphs, seconds


def study(regime: str, data_seed: int, a: argparse.Namespace) -> dict[str, Any]:
    """Figures of one data set."""
    options = {**REGIMES[regime], "feature_noise": a.feature_noise}
    data = datasets.planted_arrays("planted_v1", seed=data_seed, **options)
    config = TrainConfig.from_dict(
        {**datasets.defaults("planted_v1"), **SETTINGS, "seed": data_seed}
    )
    work = a.work / f"{regime}_{a.feature_noise:g}_{data_seed}"
    with tempfile.TemporaryDirectory() as folder:
        schema = datasets.load("planted_v1", seed=data_seed, **options)
        store = build(schema, Path(folder) / "store", progress=False)
        tasks = store.schema.task_names
        targets = {t: data.truth["signal"][t] for t in tasks}
        groups = sample_groups(tasks, a.groups, least=3, most=7, seed=data_seed)
        truth = measure_transfer(
            store, config, work, groups=groups, seeds=a.seeds, jobs=a.jobs, targets=targets,
            say=lambda line, done, total: print(f"{done}/{total} {line}", flush=True),
        )  # fmt: skip
        graphs, seconds = graphs_of(store, config)
    noise = np.isin(tasks, data.truth["noise_tasks"])
    gains = truth.gains()
    gains[:, noise] = np.nan  # against a target of 0 a share of the loss means nothing
    members, held = truth.members, np.arange(len(groups)) >= a.measured
    # Measured gains are those on validation rows: the test rows are what is predicted.
    measured = truth.gains("valid")
    chosen = np.array([truth.reliability("test"), truth.valid_agreement()["z_pearson"]])
    rows = {}
    for method, graph in graphs.items():
        found = predicted_gains(graph.value, members)
        entry = ESTIMATORS.get(method)
        pairs = truth.pairs()
        rows[method] = {
            "family": entry.family if entry else "combined",
            "question": graph.question,
            "z_pearson": float(z_pearson(found, gains)),
            "spearman": float(spearman(found, gains)),
            "qap_p": qap_p(graph.value, np.where(noise, np.nan, pairs), seed=0, draws=2000),
            "grouping": float(oracle_share(graph.value, pairs, 3)),
            "seconds": seconds.get(method, 0.0),
        }
    model = fit_predictor(
        {m: graphs[m] for m in SINGLE_TRAINING if m in graphs}, members[~held], measured[~held]
    )
    found = model.predict(members)[0]
    rows[f"combined, {a.measured} groups measured"] = {
        "family": "combined", "question": "training with i helps j",
        "z_pearson": float(z_pearson(found[held], gains[held])),
        "spearman": float(spearman(found[held], gains[held])),
        "qap_p": None, "grouping": None, "seconds": None,
    }  # fmt: skip
    related = np.array(data.truth["related"])
    return {
        "data_seed": data_seed,
        "reliability": float(chosen[0]),
        "ceiling": float(np.sqrt(max(chosen[0], 0.0))),
        "valid_agrees_with_test": float(chosen[1]),
        "planted_truth": float(z_pearson(predicted_gains(related.astype(float), members), gains)),
        "mean_gain": float(np.nanmean(gains)),
        "trainings": truth.trainings,
        "training_seconds": truth.seconds,
        "estimators": rows,
    }


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("regimes", nargs="+", choices=list(REGIMES))
    parser.add_argument("--data_seeds", type=int, default=2)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each group")
    parser.add_argument("--groups", type=int, default=50)
    parser.add_argument("--measured", type=int, default=10)
    parser.add_argument("--feature_noise", type=float, default=2.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/transfer_validity"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    a = parser.parse_args()
    for regime in a.regimes:
        found = []
        for seed in range(a.first_seed, a.first_seed + a.data_seeds):
            found.append(study(regime, seed, a))
            result = {"regime": regime, "options": REGIMES[regime], "settings": SETTINGS,
                      "data_sets": found, **provenance()}  # fmt: skip
            write_json(a.out / f"transfer_{regime}.json", finite(result))
        names = list(found[0]["estimators"])
        keys = ("z_pearson", "spearman", "grouping")
        rows = [
            [m, *(_mean([f["estimators"].get(m, {}).get(k) for f in found]) for k in keys)]
            for m in names
        ]
        print(f"{regime}: reliability {_mean([f['reliability'] for f in found]):.2f}")
        print(markdown(["estimator", "z-Pearson", "Spearman", "share of the oracle"], rows))


def _mean(values: list[Any]) -> float | None:
    known = [v for v in values if v is not None and np.isfinite(v)]
    return float(np.mean(known)) if known else None


if __name__ == "__main__":
    main()
