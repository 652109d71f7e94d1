"""Train a data set's chosen settings over several seeds, beside a tuned linear baseline.

    python scripts/study.py mosi --seeds 3
    python scripts/study.py planted_v1 --seeds 5

Writes docs/results/NAME.json (figures, seeds, versions, command) and prints the table that
docs/results.md shows. Settings come from datasets/NAME/defaults.yaml; test rows choose nothing.
For planted_v1 each seed is a data set of its own, and the study is of the evidence between tasks.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gnnfusion import GraphStore, TrainConfig, build, datasets, train
from gnnfusion.graphs.index import owners
from gnnfusion.relatedness.estimators.evidence import estimate, losses
from gnnfusion.show import environment
from gnnfusion.training.evaluate import outputs
from gnnfusion.training.metrics import score
from gnnfusion.training.objective import sample_losses


def pooled(store: GraphStore, modalities: tuple[str, ...] = ()) -> np.ndarray:
    """Features ``[S, D]`` for a linear reader: means over each modality's nodes, and presence."""
    columns = []
    for name in modalities or store.schema.modality_names:
        nodes = store.nodes(name)
        owner = owners(nodes.ptr)
        flat = nodes.x.flatten(1).float()
        if store.schema.modality(name).kind == "tabular":
            flat = one_hot(nodes.x, store.meta["modalities"][name]["state"]["columns"])
        elif nodes.spec.dtype == "int32":
            flat = bag_of_words(nodes.x, store.meta["modalities"][name]["state"])
        total = torch.zeros(len(store), flat.shape[1]).index_add_(0, owner, flat)
        counts = nodes.ptr.diff().unsqueeze(1)
        scale = counts.clamp_min(1) if store.schema.modality(name).kind != "tabular" else 1
        columns += [total / scale, (counts > 0).float()]
    return torch.cat(columns, 1).numpy()


def one_hot(x: torch.Tensor, columns: list[dict[str, Any]]) -> torch.Tensor:
    """Cells as columns of their own: the number, or one column per category."""
    sizes = [len(c["categories"]) + 1 if c["kind"] == "categorical" else 1 for c in columns]
    start = torch.tensor([0, *np.cumsum(sizes)[:-1].tolist()])
    category = torch.tensor([c["kind"] == "categorical" for c in columns])
    column = x[:, 0].long()
    place = start[column] + torch.where(category[column], x[:, 1].long(), 0)
    value = torch.where(category[column], torch.ones(len(x)), x[:, 1])
    out = torch.zeros(len(x), sum(sizes))
    out[torch.arange(len(x)), place] = value
    return out


def bag_of_words(x: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
    """Token ids as counts; padding does not count."""
    out = torch.zeros(len(x), int(state["size"]))
    out.scatter_add_(1, x.long(), torch.ones(x.shape))
    out[:, 0] = 0
    return out


def linear_baseline(store: GraphStore) -> dict[str, dict[str, float]]:
    """Ridge or logistic regression on pooled features; its penalty by cross-validation."""
    features, found = pooled(store), {}
    fit_rows, test = store.rows("train", "valid"), store.rows("test")
    for task in store.schema.tasks:
        y, known = store.target(task.name).numpy(), store.mask(task.name)
        a, b = (r[known[r]].numpy() for r in (fit_rows, test))
        if task.kind == "regression":
            model = make_pipeline(StandardScaler(), RidgeCV(10.0 ** np.arange(-1, 6)))
            predicted = model.fit(features[a], y[a]).predict(features[b]).reshape(len(b), -1)
            probability = None
        else:
            reader = LogisticRegressionCV(
                Cs=list(10.0 ** np.arange(-4.0, 1.0)), cv=3, max_iter=300, l1_ratios=(0,),
                use_legacy_attributes=False,
            )  # fmt: skip
            model = make_pipeline(StandardScaler(), reader)
            predicted = model.fit(features[a], y[a]).predict(features[b])
            probability = model.predict_proba(features[b])
            if probability.shape[1] != len(store.classes(task.name)):
                probability = None
        found[task.name] = score(task, y[b], predicted, probability)
    return found


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
        baseline = linear_baseline(store)
    rows = []
    for task, metrics in runs[0]["split"]["test"].items():
        for metric in metrics:
            values = [r["split"]["test"][task].get(metric, np.nan) for r in runs]
            spread = float(np.std(values, ddof=1)) if seeds > 1 else 0.0
            rows.append([task, metric, float(np.mean(values)), spread,
                         baseline[task].get(metric)])  # fmt: skip
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
            nothing = float(losses(network, store, test, None)[:, ~half.numpy()].mean())
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


def markdown(columns: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table."""
    cells = [[f"{v:.4f}" if isinstance(v, float) else str(v if v is not None else "") for v in r]
             for r in rows]  # fmt: skip
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write a study's figures with the command and versions that gave them; print its table."""
    kept = ("gnnfusion", "python", "torch", "torch-geometric")
    versions = {k: v for k, v in environment().items() if k in kept}
    whole = {**result, "command": " ".join(["python", *sys.argv]), "versions": versions}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(markdown(result["columns"], result["rows"]))


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
