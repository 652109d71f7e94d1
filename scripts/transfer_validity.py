"""Does any estimator of relatedness predict what training together does? Measured by training.

    python scripts/transfer_validity.py overlapping disjoint --data_seeds 2 --jobs 2
    python scripts/transfer_validity.py houses fsdd --data_seeds 1

For each case of `parts/transfer_cases.py`: gains of random groups of tasks over `--seeds` trainings
each, on test rows (the truth); one training on all tasks, from which every estimator predicts each
group's gain for each of its tasks (`gnnfusion.relatedness.agreement.company`; the linear model
predicts groups as such, too); and the combined prediction, fitted to the validation gains of
`--measured` groups in the first `--measured_seeds` trainings and scored on the others. Then the
splits of the tasks that the estimators choose are trained as well, and their mean gain (`worth`) is
given as a share of the oracle's: the split by shared factors where that is known, else the one that
the measured gains of pairs prefer. What a split is worth is read off the trainings that the fit has
not seen, where there are two at least, for a task that by chance learned badly alone gains in any
company. Over data sets the share is that of the sums. Nothing of the test rows reaches an
estimator. Pure noise is among the companions, but no target: a share of the loss against 0 means
nothing.

Settings were chosen on planted data of seed 100: long enough for the networks to learn. Writes
docs/results/transfer_CASE.json. Resumable: finished trainings are kept in `--work`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from parts.estimates import timed_graphs  # scripts/ is where this program lies
from parts.results import markdown, provenance
from parts.transfer_cases import CASES

from gnnfusion import GraphStore, TaskGraph, TrainConfig
from gnnfusion.relatedness.agreement import (
    known_mean,
    predicted_gains,
    qap_p,
    spearman,
    split_half,
    z_pearson,
)
from gnnfusion.relatedness.combined import (
    PREDICTORS,
    SINGLE_TRAINING,
    combine,
    estimable,
    fit_predictor,
)
from gnnfusion.relatedness.estimators import ESTIMATORS, HELPS, linearized
from gnnfusion.relatedness.estimators.transfer import count_groups, measure_transfer, sample_groups
from gnnfusion.relatedness.grouping import Split, affinity, best_split
from gnnfusion.relatedness.transfer import Transfer
from gnnfusion.training.fit import fit
from gnnfusion.training.probes import Probes, probe_interval
from gnnfusion.whole import finite, write_json

SPLIT_BY = (
    "labels", "evidence", "residuals", "gradient", "cka", "rsa", "cross_prediction",
    "coregionalization", "combined",
)  # fmt: skip
GROUPS = "linearized, groups"
MOST = 4  # groups of a split: the tasks have three sets of factors, and one is noise


def graphs_of(
    store: GraphStore, config: TrainConfig, members: np.ndarray
) -> tuple[dict[str, TaskGraph], np.ndarray, dict[str, float]]:
    """Task graphs by method from one training on all tasks; the gains of groups that the linear
    model of its network expects as such, ``[G, T]``; and the seconds of each."""
    every = probe_interval(len(store.schema.tasks))
    start = time.perf_counter()
    network, keeper = fit(store, replace(config, log_interference=every), None)
    seconds = {"training with probes": time.perf_counter() - start}
    graphs, took = timed_graphs(
        ESTIMATORS, network, store, store.rows("valid"), config.seed, Probes.of(keeper.probes),
        labelled=store.rows("train", "valid"),
    )  # fmt: skip
    graphs = estimable(graphs)
    graphs["combined"] = combine({m: graphs[m] for m in SINGLE_TRAINING if m in graphs})
    start = time.perf_counter()
    expected = linearized.gains(network, store, store.rows("valid"), members)
    return graphs, expected, seconds | took | {GROUPS: time.perf_counter() - start}


def study(name: str, data_seed: int, a: argparse.Namespace) -> dict[str, Any]:
    """Figures of one data set."""
    work = a.work / f"{name}_{data_seed}"
    with tempfile.TemporaryDirectory() as folder:
        case = CASES[name](name, data_seed, Path(folder))
        store, config, noise = case.store, case.config, case.noise
        tasks = store.schema.task_names

        def measure(groups: Sequence[Sequence[str]]) -> Transfer:
            return measure_transfer(
                store, config, work, groups=groups, seeds=a.seeds, jobs=a.jobs,
                targets=case.targets,
                say=lambda line, done, total: print(f"{done}/{total} {line}", flush=True),
            )  # fmt: skip

        least, most = case.sizes
        groups = min(a.groups, count_groups(len(tasks), least, most))
        truth = measure(sample_groups(tasks, groups, least=least, most=most, seed=data_seed))
        members = truth.members
        graphs, expected, seconds = graphs_of(store, config, members)
        count = min(a.measured, groups // 2)
        fitted = f"combined, {count} groups measured"
        held = np.arange(groups) >= count
        # Measured gains are those on validation rows: the test rows are what is predicted.
        measured = known_mean(truth.per_seed("valid")[: a.measured_seeds])
        model = fit_predictor(
            {m: graphs[m] for m in PREDICTORS if m in graphs}, members[~held], measured[~held]
        )
        splits = {m: best_split(affinity(graphs[m]), MOST) for m in SPLIT_BY if m in graphs}
        splits[fitted] = model.split(MOST)
        promised = model.value(splits[fitted])
        if case.known:
            splits["oracle"] = by_factors(case.known["related"] > 0)
        else:
            splits["oracle"] = best_split(truth.pairs(), MOST)
        # The oracle's groups are given even where no estimator would choose any.
        names = {g: tuple(tasks[t] for t in g) for s in splits.values() for g in s if len(g) > 1}
        chosen = measure(list(names.values()))
    unseen = slice(a.measured_seeds if a.seeds >= a.measured_seeds + 2 else 0, None)
    worth = {m: worth_of(split, names, chosen, noise, unseen) for m, split in splits.items()}
    best = worth["oracle"]
    per_seed = truth.per_seed()
    per_seed[..., noise] = np.nan
    gains = known_mean(per_seed)
    pairs = np.where(noise, np.nan, truth.pairs())
    rows = {}
    for method, graph in graphs.items():
        found = predicted_gains(graph.value, members)
        entry = ESTIMATORS.get(method)
        rows[method] = {
            "family": entry.family if entry else "combined",
            "question": graph.question,
            "z_pearson": float(z_pearson(found, gains)),
            "spearman": float(spearman(found, gains)),
            "qap_p": qap_p(graph.value, pairs, seed=0, draws=2000),
            "worth": worth.get(method),
            "grouping": worth[method] / best if method in worth and best > 0 else None,
            "seconds": seconds.get(method, 0.0),
        }
    whole = [(GROUPS, "gradient", expected, gains),
             (fitted, "combined", model.predict(members)[0][held], gains[held])]  # fmt: skip
    for method, family, found, known in whole:
        rows[method] = {
            "family": family,
            "question": HELPS,
            "z_pearson": float(z_pearson(found, known)),
            "spearman": float(spearman(found, known)),
            "qap_p": None,  # it is of pairs
            "worth": worth.get(method),
            "grouping": worth[method] / best if method in worth and best > 0 else None,
            "seconds": seconds.get(method),
        }
    reliability = split_half(per_seed)
    return {
        "data_seed": data_seed,
        "settings": config.changed(),
        "reliability": reliability,
        "ceiling": float(np.sqrt(max(reliability, 0.0))),
        "valid_agrees_with_test": float(
            z_pearson(np.where(noise, np.nan, truth.gains("valid")), gains)
        ),
        "planted_truth": {
            k: float(z_pearson(predicted_gains(v, members), gains)) for k, v in case.known.items()
        },
        "measured_seeds": min(a.measured_seeds, a.seeds),
        "mean_gain": float(np.nanmean(gains)),
        "oracle_gain": best,
        "fit_expects": {"gain": promised[0], "standard_error": promised[1]},
        "splits": {m: [[tasks[t] for t in g] for g in split] for m, split in splits.items()},
        "trainings": truth.trainings,
        "training_seconds": truth.seconds,
        "estimators": rows,
    }


def by_factors(related: np.ndarray) -> Split:
    """The tasks split by the factors that they share."""
    return tuple(dict.fromkeys(
        tuple(np.flatnonzero(row | (np.arange(len(row)) == t)).tolist())
        for t, row in enumerate(related)
    ))  # fmt: skip


def worth_of(
    split: Split, names: Mapping[tuple[int, ...], tuple[str, ...]], chosen: Transfer,
    noise: np.ndarray, seeds: slice,
) -> float:  # fmt: skip
    """Mean measured gain of all tasks but noise under a split, over some seeds; 0 of one alone."""
    gains, found = known_mean(chosen.per_seed()[seeds]), np.zeros(len(noise))
    for group in split:
        if len(group) > 1:
            found[list(group)] = gains[chosen.groups.index(names[group])][list(group)]
    return float(found[~noise].mean())


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="+", choices=list(CASES))
    parser.add_argument("--data_seeds", type=int, default=2)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=6, help="trainings of each group")
    parser.add_argument("--groups", type=int, default=40)
    parser.add_argument("--measured", type=int, default=10, help="groups that are fitted to")
    parser.add_argument("--measured_seeds", type=int, default=6, help="trainings of each of these")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/transfer_validity"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    a = parser.parse_args()
    for name in a.cases:
        found = []
        for seed in range(a.first_seed, a.first_seed + a.data_seeds):
            found.append(study(name, seed, a))
            result = {"case": name, "data_sets": found, **provenance()}
            write_json(a.out / f"transfer_{name}.json", finite(result))
        names = list(found[0]["estimators"])
        oracle, rows = np.mean([f["oracle_gain"] for f in found]), []
        for method in names:
            each = [f["estimators"].get(method, {}) for f in found]
            z, rank, worth = (_mean([e.get(k) for e in each])
                              for k in ("z_pearson", "spearman", "worth"))  # fmt: skip
            share = worth / float(oracle) if worth is not None and oracle > 0 else None
            rows.append([method, z, rank, share])
        print(f"{name}: reliability {_mean([f['reliability'] for f in found]):.2f}")
        print(markdown(["estimator", "z-Pearson", "Spearman", "share of the oracle"], rows))


def _mean(values: list[Any]) -> float | None:
    known = [v for v in values if v is not None and np.isfinite(v)]
    return float(np.mean(known)) if known else None


if __name__ == "__main__":
    main()
