"""Which estimators of task relatedness find what is planted? One training a data seed.

    python scripts/validate_relatedness.py --seeds 20 --json docs/results/relatedness_exam.json

Every data seed is a data set of its own, trained once with the settings of the preset's data set;
every estimator then reads that one network (labels read none). `auroc` is the chance that a pair
which shares a factor has the larger value than one that does not, mean over data seeds. `spearman`
and `z_pearson` are agreement within targets with how alike the targets are (the squared correlation
of the noiseless ones), mean over data seeds, and `qap_p` is the median p-value of the latter: they
are not against measured transfer, which is what `transfer_validity.py` has. Hard pairs
share factors with orthogonal loadings, so that their labels do not correlate; they are planted in
a second data set of each seed and reported apart. Whether a task's duplicate ranks first is counted
over all sets, and over those in which it is planted to: there its labels go together with the
task's, in expectation, more than any other's do, by `CLEAR` at least (a count that was added when
the first was known). The exam's settings were fixed before any estimator was run. `--sweep NAME
VALUE ...` repeats it over a parameter of the planted set.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parts.estimates import timed_graphs  # scripts/ is where this program lies
from parts.planted_truth import alike, noise_tasks
from parts.results import markdown, provenance

from gnnfusion import TaskGraph, TrainConfig, build, datasets
from gnnfusion.datasets.planted import PRESETS, label_mask
from gnnfusion.graphs.views import with_missing
from gnnfusion.relatedness.agreement import auroc, qap_p, spearman, z_pearson
from gnnfusion.relatedness.combined import SINGLE_TRAINING, combine, estimable
from gnnfusion.relatedness.estimators import ESTIMATORS
from gnnfusion.training.fit import fit
from gnnfusion.training.probes import Probes, probe_interval
from gnnfusion.whole import finite, write_json

AGREEMENT = ("auroc", "spearman", "z_pearson", "qap_p")
DRAWS = 2000
CLEAR = 0.05  # of a correlation of 0.8 from 300 rows 2.4 standard errors


def graphs_of(
    name: str, seed: int, options: Mapping[str, Any], methods: tuple[str, ...]
) -> tuple[dict[str, TaskGraph], dict[str, float], dict[str, Any]]:
    """Task graphs by method of one planted set, what each took in seconds, and the truth."""
    data = datasets.planted_arrays(name, seed=seed, **options)
    config = TrainConfig.from_dict({**datasets.defaults(name), "seed": seed})
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        schema = datasets.load(name, seed=seed, **options)
        store = build(schema, Path(folder) / "store", progress=False)
        # What is read must be labelled as what was trained on: of a sweep over patterns it says
        # nothing that an estimator works where every row has all labels.
        rows = store.rows("test")
        hidden = torch.zeros(store.masks.shape, dtype=torch.bool)
        draw = np.random.default_rng([seed, 1])
        hidden[rows] = torch.from_numpy(~label_mask(data.spec, len(rows), draw))
        store = with_missing(store, hidden)
        probed = any(ESTIMATORS[m].needs == "training" for m in methods)
        every = probe_interval(len(store.schema.tasks)) if probed else 0
        start = time.process_time()
        network, keeper = fit(store, replace(config, log_interference=every), None)
        seconds["training"] = time.process_time() - start
        probes = Probes.of(keeper.probes) if probed else None
        graphs, took = timed_graphs(methods, network, store, rows, seed, probes)
        seconds |= took
    parts = estimable({m: graphs[m] for m in SINGLE_TRAINING if m in graphs})
    if parts:
        graphs["combined"] = combine(parts)
        seconds["combined"] = sum(took[m] for m in parts)
    return graphs, seconds, data.truth


def exam(seeds: range, name: str, options: Mapping[str, Any], methods: tuple[str, ...],
         hard: bool, progress: str) -> dict[str, Any]:  # fmt: skip
    """Figures of every estimator over data seeds."""
    found: dict[str, dict[str, list[float]]] = {}
    first, clean, took, margins = [], [], [], []
    for seed in seeds:
        graphs, seconds, truth = graphs_of(name, seed, options, methods)
        took.append(seconds["training"])
        if hard:
            hard_graphs, _, hard_truth = graphs_of(name, seed, {**options, "hard": True}, methods)
        for method, graph in graphs.items():
            each = found.setdefault(method, {k: [] for k in (*AGREEMENT, "auroc_hard", "seconds")})
            for name_of, value in agreement(graph, truth).items():
                each[name_of].append(value)
            if hard:
                each["auroc_hard"].append(hard_auroc(hard_graphs[method], hard_truth))
            each["seconds"].append(seconds.get(method, 0.0))
        first.append({m: duplicate_first(g, truth) for m, g in graphs.items()})
        margins.append(duplicate_margin(truth, next(iter(graphs.values())).tasks))
        clean.append({m: noise_is_clean(g, truth) for m, g in graphs.items()})
        line = ", ".join(f"{m} {e['auroc'][-1]:.3f}" for m, e in found.items())
        print(f"{progress}seed {seed}: {line}", flush=True)
    figures, clear = {}, np.array(margins) >= CLEAR
    for method, each in found.items():
        entry = ESTIMATORS.get(method)
        figures[method] = {
            "family": entry.family if entry else "combined",
            "question": graphs[method].question,
            "auroc": float(np.mean(each["auroc"])),
            "auroc_sd": float(np.std(each["auroc"], ddof=1)) if len(first) > 1 else None,
            "auroc_hard": float(np.mean(each["auroc_hard"])) if hard else None,
            "duplicate_first": float(np.mean([f[method] for f in first])),
            "duplicate_first_where_clear": (
                float(np.mean([f[method] for f in first], where=clear)) if clear.any() else None
            ),
            "noise_without_edge": float(np.mean([c[method] for c in clean])),
            "spearman": float(np.mean(each["spearman"])),
            "z_pearson": float(np.mean(each["z_pearson"])),
            "qap_p": float(np.median(each["qap_p"])),
            "trainings": 0 if method == "labels" else 1,
            "seconds": float(np.mean(each["seconds"])),
            "per_seed": each["auroc"],
        }  # fmt: skip
    return {
        "estimators": figures, "seconds_training": float(np.mean(took)),
        "duplicate_margins": margins, "clear_sets": int(clear.sum()),
    }  # fmt: skip


def agreement(graph: TaskGraph, truth: Mapping[str, Any]) -> dict[str, float]:
    """With what is planted: which pairs share a factor, and how alike the targets are."""
    known = np.where(noise_tasks(truth, graph.tasks), np.nan, alike(truth))
    return dict(zip(AGREEMENT, (
        auroc(graph.value, np.array(truth["related"])),
        float(spearman(graph.value, known)),
        float(z_pearson(graph.value, known)),
        qap_p(graph.value, known, draws=DRAWS),
    ), strict=True))  # fmt: skip


def hard_auroc(graph: TaskGraph, truth: Mapping[str, Any]) -> float:
    """AUROC of the hard pairs against the unrelated ones."""
    hard = np.zeros_like(truth["related"])
    for a, b in truth["hard_pairs"]:
        i, j = graph.tasks.index(a), graph.tasks.index(b)
        hard[i, j] = hard[j, i] = True
    among = (hard | ~np.array(truth["related"])) & ~np.eye(len(hard), dtype=bool)
    return auroc(graph.value, hard, among)


def duplicate_first(graph: TaskGraph, truth: Mapping[str, Any]) -> bool:
    """Whether a task's duplicate has the largest value of all its sources."""
    value = np.nan_to_num(graph.value, nan=-np.inf)
    found = []
    for a, b in truth["duplicates"]:
        i, j = graph.tasks.index(a), graph.tasks.index(b)
        found += [np.isfinite(value[i, j]), value[:, j].argmax() == i, value[:, i].argmax() == j]
    return bool(np.all(found))


def duplicate_margin(truth: Mapping[str, Any], tasks: tuple[str, ...]) -> float:
    """By how much labels of duplicates correlate more than any other's with either's, as expected.

    Where it is near 0, or below, a duplicate that does not rank first is no mistake.
    """
    size = np.abs(np.array(truth["label_correlation"]))
    np.fill_diagonal(size, 0)
    found = []
    for pair in truth["duplicates"]:
        i, j = (tasks.index(name) for name in pair)
        others = np.delete(size[[i, j]], [i, j], axis=1)
        found.append(size[i, j] - others.max())
    return float(min(found, default=np.nan))


def noise_is_clean(graph: TaskGraph, truth: Mapping[str, Any]) -> float:
    """1 if no kept edge touches a task that is noise, else 0; NaN of a method that keeps none."""
    if not graph.tested:
        return float("nan")
    noise = [graph.tasks.index(t) for t in truth["noise_tasks"]]
    kept = graph.significant
    return float(not (kept[noise].any() or kept[:, noise].any()))


def main() -> None:
    """Parse, examine, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--preset", default="planted_v1", choices=list(PRESETS))
    parser.add_argument("--methods", default=",".join(ESTIMATORS), help="comma-separated")
    parser.add_argument("--hard", action=argparse.BooleanOptionalAction, default=True,
                        help="plant a second data set of each seed for the hard pairs")  # fmt: skip
    parser.add_argument("--sweep", nargs="+", metavar=("NAME", "VALUE"), default=None,
                        help="a parameter of the planted set and its values")  # fmt: skip
    parser.add_argument("--json", type=Path, default=Path("docs/results/relatedness_exam.json"))
    a = parser.parse_args()
    seeds, methods = range(a.first_seed, a.first_seed + a.seeds), tuple(a.methods.split(","))
    result = {"preset": a.preset, "seeds": list(seeds), **provenance()}
    if a.sweep:
        name, values = a.sweep[0], [_number(v) for v in a.sweep[1:]]
        result |= {"parameter": name, "sweep": []}
        for value in values:
            found = exam(seeds, a.preset, {name: value}, methods, a.hard, f"{name} {value}, ")
            result["sweep"].append({"value": value, **found})
            write_json(a.json, finite(result))
    else:
        result |= exam(seeds, a.preset, {}, methods, a.hard, "")
        write_json(a.json, finite(result))
        columns = ["estimator", "AUROC", "sd", "hard pairs", "z-Pearson", "duplicate first",
                   "where clear", "noise without edge", "seconds"]  # fmt: skip
        keys = ("auroc", "auroc_sd", "auroc_hard", "z_pearson", "duplicate_first",
                "duplicate_first_where_clear", "noise_without_edge", "seconds")  # fmt: skip
        ranked = sorted(result["estimators"].items(), key=lambda e: -e[1]["auroc"])
        print(markdown(columns, [[m, *(e[k] for k in keys)] for m, e in ranked]))


def _number(text: str) -> Any:
    """A number where it is one; words stay words."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


if __name__ == "__main__":
    main()
