"""Houses: graph fusion against simple readers of the same features, 5 x 5-fold cross-validation.

    python scripts/houses.py

Every row is held out once in each of five repetitions with fixed seeds. The linear reader is that
of `gnnfusion compare`: ridge on the same extracted features, pooled per modality (pixels, one-hot
zip code), of which cross-validation on the training rows chooses all or a single modality; ridge on
all of them is shown beside it, and graph fusion that reads the zip code alone: do the photos help
or hurt it? Differences have the corrected standard error of Nadeau and Bengio (2003), since folds
share training rows. Writes docs/results/houses.json.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from parts.inputs import reading  # scripts/ is where this program lies
from parts.results import write_result
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gnnfusion import GraphStore, TrainConfig, build, datasets
from gnnfusion.graphs.views import with_split
from gnnfusion.training.baselines import PENALTIES, baseline, pooled
from gnnfusion.training.crossval import fold_splits
from gnnfusion.training.evaluate import outputs, scores
from gnnfusion.training.fit import fit

METHODS = (
    "graph fusion", "graph fusion, zip code alone", "linear reader", "ridge on all features",
)  # fmt: skip


def corrected_error(differences: np.ndarray, folds: int) -> float:
    """Standard error of a mean over repeated k-fold, sqrt((1/n + 1/(k-1)) var)."""
    n = len(differences)
    return float(np.sqrt((1 / n + 1 / (folds - 1)) * differences.var(ddof=1)))


def fusion(fold: GraphStore, config: TrainConfig) -> list[float]:
    """R2 of graph fusion on the rows held out as ``valid``, by task."""
    held = fold.rows("valid")
    # Refitted on train and valid, so the rows held out must be neither.
    hidden = with_split(fold, (fold.split != 0).to(fold.split.dtype) * 2)
    network, _ = fit(hidden, config, None)
    found = scores(network, fold, held, outputs(network, fold, held))
    return [found[t]["r2"] for t in fold.schema.task_names]


def readers(fold: GraphStore) -> list[list[float]]:
    """R2 of the linear reader and of ridge on all features, by task."""
    train, held = fold.rows("train"), fold.rows("valid")
    linear = baseline(fold, "linear", ("valid",), ("train",))["valid"]
    ridge = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    x, every = pooled(fold), []
    for task in fold.schema.task_names:
        y = fold.target(task)[:, 0].numpy()
        every.append(r2_score(y[held], ridge.fit(x[train], y[train]).predict(x[held])))
    return [[linear[t]["r2"] for t in fold.schema.task_names], every]


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    a = parser.parse_args()
    config = TrainConfig.from_dict({**datasets.defaults("houses"), "refit": True})
    found = []
    with tempfile.TemporaryDirectory() as folder:
        schema = datasets.load("houses")
        store = build(schema, Path(folder) / "store", progress=False)
        places = build(reading(schema, ["place"]), Path(folder) / "places", progress=False)
        tasks = store.schema.task_names
        for repeat in range(a.repeats):
            splits = fold_splits(store, a.folds, over=("train", "valid", "test"), seed=repeat)
            settings = replace(config, seed=repeat)
            for split in splits:
                fold, zips = with_split(store, split), with_split(places, split)
                found.append([fusion(fold, settings), fusion(zips, settings), *readers(fold)])
            means = zip(METHODS, np.mean(found, (0, 2)), strict=True)
            print(f"repeat {repeat}: " + ", ".join(f"{m} {v:.3f}" for m, v in means), flush=True)
    table = np.array(found)  # [folds, methods, tasks]
    table = np.concatenate([table, table.mean(2, keepdims=True)], 2)
    rows = []
    for place, task in enumerate((*tasks, "average")):
        ours, zips, linear, every = table[..., place].T
        row: list[Any] = [task, float(ours.mean())]
        for other in (zips, linear):
            gap = ours - other
            row += [float(other.mean()), float(gap.mean()), corrected_error(gap, a.folds)]
        rows.append([*row, float(every.mean())])
    gap_columns = ["difference", "corrected se"]
    columns = ["task", METHODS[0], METHODS[1], *gap_columns, METHODS[2], *gap_columns, METHODS[3]]
    write_result(
        a.out / "houses.json", {"settings": config.to_dict(), "columns": columns, "rows": rows}
    )


if __name__ == "__main__":
    main()
