"""Do p-values and intervals of relatedness keep their word?

    python scripts/calibrate_relatedness.py --label_sets 1000 --trained_sets 300

Null: data sets whose labels are pure noise. 5 % of p-values should lie below 0.05 (pooled over
pairs, error bars over data sets), and after the false discovery control few sets should keep any
edge. Conditional null: labels that share features and are independent given them, which is what the
methods' question denies; there p-values hold as far as the network has learned what the features
say, so it is trained short and long, on sums of features and on their products.

Coverage: of one trained network (planted arrays, ten tasks), intervals from draws of 300 held-out
rows against the value on 20,000; of retraining, intervals from 5 seeds against the mean of
`--retrainings` seeds, with the error that so few seeds leave. Writes
docs/results/relatedness_calibration.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parts.inputs import planted_store  # scripts/ is where this program lies
from parts.results import markdown, mean_and_error, provenance

from gnnfusion import GraphStore, Modality, Schema, Task, TrainConfig, datasets
from gnnfusion.graphs.arrays import store_from_arrays
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.estimators import labels
from gnnfusion.relatedness.estimators.gradient import cosines
from gnnfusion.relatedness.estimators.representation import cka_matrix, rsa_matrix
from gnnfusion.relatedness.estimators.residuals import association, residuals
from gnnfusion.relatedness.intervals import mean_interval
from gnnfusion.relatedness.paired import paired_gain
from gnnfusion.relatedness.relate import estimate
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evaluate import loss_table, outputs
from gnnfusion.training.fit import fit
from gnnfusion.whole import finite, write_json

NOISE = ((),) * 5
CONDITIONAL = (("sums", 4), ("sums", 20), ("products", 20))  # of features; epochs
KINDS = ("regression", "regression", "binary", "multiclass")
TESTED = ("evidence", "evidence_given_others", "residuals")  # of what is read off a network
PARTS = ("null", "conditional", "coverage")
FAR = 3000  # rows whose every distance can be held, in place of all


def null_of_labels(count: int) -> list[tuple[np.ndarray, bool]]:
    """Of each set: p-values of the pairs, and whether any edge is kept."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng([7, seed])
        y = [rng.normal(size=200), rng.normal(size=200), rng.integers(0, 2, 200),
             rng.integers(0, 4, 200)]  # fmt: skip
        p = np.full((4, 4), np.nan)
        for i in range(4):
            for j in range(i):
                ranks = KINDS[i] == KINDS[j] == "regression"
                p[i, j] = p[j, i] = labels.association(y[i], y[j], ranks, rng)[3]
        nothing = np.zeros((4, 4))
        graph = TaskGraph(
            tasks=tuple("abcd"), method="labels", question="labels go together", value=nothing,
            low=nothing, high=nothing, p_value=p, n=nothing, symmetric=True,
        )  # fmt: skip
        found.append((p[np.tril_indices(4, -1)], bool(graph.significant.any())))
    return found


def null_of_trained(
    count: int, methods: tuple[str, ...]
) -> dict[str, list[tuple[np.ndarray, bool]]]:
    """The same for estimators that read a trained network, one small training a set."""

    def noise(seed: int) -> GraphStore:
        options = {"tasks": NOISE, "train": 120, "test": 200}
        return planted_store(datasets.planted_arrays("planted_v1", seed=seed, **options))

    return tested(count, methods, noise, epochs=4)


def conditional_store(what: str, seed: int) -> GraphStore:
    """Five tasks that read the same eight features, in full view, with noise of their own."""
    rng = np.random.default_rng([11, seed])
    x = rng.standard_normal((500, 8)).astype(np.float32)
    read = x if what == "sums" else np.concatenate([x[:, :2], 2**0.5 * x[:, :4] * x[:, 4:]], 1)
    weights = rng.standard_normal((read.shape[1], 5)) / read.shape[1] ** 0.5
    y = read @ weights + 0.7 * rng.standard_normal((500, 5))
    kinds = ("regression",) * 3 + ("binary",) * 2
    schema = Schema(
        modalities=(Modality(name="x", kind="array", columns=("x",)),),
        tasks=tuple(Task(name=f"t{n}", kind=kind) for n, kind in enumerate(kinds)),
    )
    labels = {f"t{n}": y[:, n] if n < 3 else (y[:, n] > 0).astype(int) for n in range(5)}
    return store_from_arrays(schema, {"x": x[:, None]}, labels, split=np.repeat([0, 2], [300, 200]))


def tested(
    count: int, methods: tuple[str, ...], make: Callable[[int], GraphStore], epochs: int
) -> dict[str, list[tuple[np.ndarray, bool]]]:
    """P-values of five tasks, and whether any edge is kept, by method and data set."""
    found: dict[str, list[tuple[np.ndarray, bool]]] = {m: [] for m in methods}
    config = TrainConfig(
        network=NetworkConfig(width=16, layers=1, heads=1, fusion="sage", dropout=0.1),
        epochs=epochs, batch_size=32, lr=5e-3, evidence=0.8, refit=True, device="cpu",
    )  # fmt: skip
    for seed in range(count):
        store = make(seed)
        network, _ = fit(store, replace(config, seed=seed), None)
        for method in methods:
            graph = estimate(method, network, store, store.rows("test"), seed)
            p = graph.p_value[np.tril_indices(5, -1) if graph.symmetric else ~np.eye(5, dtype=bool)]
            found[method].append((p, bool(graph.significant.any())))
        if seed % 50 == 49:
            print(f"{seed + 1} null sets trained", flush=True)
    return found


def null_row(name: str, found: list[tuple[np.ndarray, bool]]) -> list[Any]:
    """Share of p-values below 0.05, its standard error over sets; share of sets with an edge."""
    each = np.array([(p < 0.05).mean() for p, _ in found])
    kept = np.mean([k for _, k in found])
    return [name, len(found), *mean_and_error(each), float(kept)]


def coverage_of_rows(draws: int) -> list[list[Any]]:
    """Share of intervals from 300 rows that hold the value on 20,000, by estimator."""
    data = datasets.planted_arrays("planted_v1", seed=200, test=20_000)
    store = planted_store(data)
    config = TrainConfig.from_dict({**datasets.defaults("planted_v1"), "device": "cpu"})
    network, _ = fit(store, config, None)
    rows, rng = store.rows("test"), np.random.default_rng(0)
    pairs = [(i, j) for i in range(10) for j in range(10) if i != j]
    found: dict[str, list[bool]] = {}

    def count(name: str, low: float, high: float, truth: float) -> None:
        found.setdefault(name, []).append(bool(low <= truth <= high))

    base = loss_table(network, store, rows)
    told = np.stack([loss_table(network, store, rows, i) for i in range(10)])
    left = left_over(network, store, rows)
    out = [o.double().numpy() for o in outputs(network, store, rows).values()]
    sizes = np.abs(cosines(network, store, rows[:9600]))
    correlation = np.abs(np.corrcoef(np.concatenate(left, 1).T))
    y = np.concatenate([store.target(t).numpy() for t in store.schema.task_names], 1)[rows]
    ranks = [np.argsort(np.argsort(c)) for c in y.T]
    together = np.abs(np.corrcoef(ranks))
    whole = {
        "cka": cka_matrix(out),
        "cross_prediction": estimate("cross_prediction", network, store, rows, 0).value,
        "rsa": rsa_matrix([o[:FAR] for o in out]),
    }
    for _ in range(draws):
        some = rng.choice(len(rows), 300, replace=False)
        # With replacement: ten of 300 batches would be nearer to their mean than ten new ones.
        batches = sizes[rng.choice(len(sizes), 10)]
        least, most = mean_interval(batches)
        of_some = {name: estimate(name, network, store, rows[some], 0) for name in whole}
        for i, j in [pairs[n] for n in rng.choice(len(pairs), 6, replace=False)]:
            truth = (base[:, j] - told[i][:, j]).mean() / base[:, j].mean()
            count("evidence", *paired_gain(base[some, j], told[i][some, j], rng)[1:3], truth)
            count("residuals", *association(left[i][some], left[j][some], rng)[1:3],
                  correlation[i, j])  # fmt: skip
            count("labels", *labels.association(y[some, i], y[some, j], True, rng)[1:3],
                  together[i, j])  # fmt: skip
            count("gradient", least[i, j], most[i, j], sizes[:, i, j].mean())
            for name, graph in of_some.items():
                count(name, graph.low[i, j], graph.high[i, j], whole[name][i, j])
    return [[name, "rows", *share(held, draws)] for name, held in found.items()]


def left_over(network: FusionNetwork, store: Any, rows: torch.Tensor) -> list[np.ndarray]:
    """Residuals of each task, ``[n, 1]``."""
    return [
        residuals(network.head(t), out, store.target(t)[rows]).double().numpy()
        for t, out in outputs(network, store, rows).items()
    ]


def coverage_of_retraining(count: int, draws: int) -> list[list[Any]]:
    """Share of intervals over 5 seeds that hold the mean of all seeds, by estimator."""
    store = planted_store(datasets.planted_arrays("planted_v1", seed=201))
    config = TrainConfig.from_dict({**datasets.defaults("planted_v1"), "device": "cpu"})
    methods = (
        "evidence", "residuals", "gradient", "cka", "cross_prediction", "coregionalization"
    )  # fmt: skip
    values: dict[str, list[np.ndarray]] = {m: [] for m in methods}
    for seed in range(count):
        network, _ = fit(store, replace(config, seed=seed), None)
        for method, each in values.items():
            each.append(estimate(method, network, store, store.rows("test"), 0).value)
    rows = []
    for method, each in values.items():
        stack = np.stack(each)[:, ~np.eye(10, dtype=bool)]
        # The draws share their seeds, so the error is that of the seeds: by the jackknife.
        less = np.array([held_by_five(np.delete(stack, n, axis=0), draws) for n in range(count)])
        error = ((count - 1) * less.var()) ** 0.5
        rows.append([method, "retraining", held_by_five(stack, draws), float(error)])
    return rows


def held_by_five(values: np.ndarray, draws: int) -> float:
    """Share of intervals from five of the seeds that hold the mean of all, ``[S, P]``."""
    rng, count = np.random.default_rng(0), len(values)
    order = rng.permuted(np.tile(np.arange(count), (draws, 1)), axis=1)
    drawn = values[order[:, :5].T]  # [5, draws, P]
    # Five of so few seeds are nearer to their mean than five new ones would be.
    few = (1 - 5 / count) ** 0.5
    middle, truth = drawn.mean(0), values.mean(0)
    low, high = (middle + few * (end - middle) for end in mean_interval(drawn))
    return float(((low <= truth) & (truth <= high)).mean())


def share(held: list[bool], draws: int) -> tuple[float, float]:
    """Share and its standard error over draws of rows (pairs of one draw are not independent)."""
    return mean_and_error(np.array(held, float).reshape(draws, -1).mean(1))


def main() -> None:
    """Parse, calibrate, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--label_sets", type=int, default=1000)
    parser.add_argument("--trained_sets", type=int, default=300)
    parser.add_argument("--conditional_sets", type=int, default=60)
    parser.add_argument("--draws", type=int, default=200, help="of rows, for coverage")
    parser.add_argument("--retrainings", type=int, default=40)
    parser.add_argument(
        "--json", type=Path, default=Path("docs/results/relatedness_calibration.json")
    )
    a = parser.parse_args()
    steps: dict[str, list[Callable[[], Any]]] = {
        "null": [
            lambda: [null_row("labels", null_of_labels(a.label_sets))],
            lambda: [null_row(m, f) for m, f in
                     null_of_trained(a.trained_sets, TESTED).items()],
        ],
        "conditional": [
            lambda what=what, epochs=epochs: [
                null_row(f"{m}, {what} of features, {epochs} epochs", f)
                for m, f in tested(a.conditional_sets, TESTED, partial(conditional_store, what),
                                   epochs).items()
            ] for what, epochs in CONDITIONAL
        ],
        "coverage": [
            lambda: coverage_of_rows(a.draws),
            lambda: coverage_of_retraining(a.retrainings, 2000),
        ],
    }  # fmt: skip
    result: dict[str, Any] = {part: [] for part in PARTS}
    if a.json.is_file() and len(a.parts) < len(steps):  # of the other part, what is known stays
        result |= {k: v for k, v in json.loads(a.json.read_text()).items() if k in steps}
    for part in a.parts:
        result[part] = []
        for step in steps[part]:
            result[part] += step()
            print(f"{part}: {result[part][-1]}", flush=True)
            write_json(a.json, finite({**result, **provenance()}))
    head = ["estimator", "null sets", "p < 0.05", "se", "sets with an edge"]
    print(markdown(head, result["null"] + result["conditional"]))
    print(markdown(["estimator", "interval over", "coverage", "se"], result["coverage"]))


if __name__ == "__main__":
    main()
