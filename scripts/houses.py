"""Houses: graph fusion against simple readers of the same features, 5 x 5-fold cross-validation.

    python scripts/houses.py

Every row is held out once in each of five repetitions with fixed seeds. The linear reader is that
of `gnnfusion compare`: ridge on the same extracted features, pooled per modality (pixels, one-hot
zip code), of which cross-validation on the training rows chooses all or a single modality; ridge on
all of them is shown beside it. Differences are from the linear reader, with the corrected standard
error of Nadeau and Bengio (2003), since folds share training rows. Writes docs/results/houses.json.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from parts.results import write_result  # scripts/ is where this program lies
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

METHODS = ("graph fusion", "linear reader", "ridge on all features")


def corrected_error(differences: np.ndarray, folds: int) -> float:
    """Standard error of a mean over repeated k-fold, sqrt((1/n + 1/(k-1)) var)."""
    n = len(differences)
    return float(np.sqrt((1 / n + 1 / (folds - 1)) * differences.var(ddof=1)))


def scores_of_fold(fold: GraphStore, config: TrainConfig) -> list[list[float]]:
    """R2 on the rows held out as ``valid``, by method and task."""
    train, held = fold.rows("train"), fold.rows("valid")
    # Refitted on train and valid, so the rows held out must be neither.
    hidden = with_split(fold, (fold.split != 0).to(fold.split.dtype) * 2)
    network, _ = fit(hidden, config, None)
    ours = scores(network, fold, held, outputs(network, fold, held))
    linear = baseline(fold, "linear", ("valid",), ("train",))["valid"]
    ridge = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    x, every = pooled(fold), []
    for task in fold.schema.task_names:
        y = fold.target(task)[:, 0].numpy()
        every.append(r2_score(y[held], ridge.fit(x[train], y[train]).predict(x[held])))
    tasks = fold.schema.task_names
    return [[ours[t]["r2"] for t in tasks], [linear[t]["r2"] for t in tasks], every]


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
        store = build(datasets.load("houses"), Path(folder) / "store", progress=False)
        tasks = store.schema.task_names
        for repeat in range(a.repeats):
            splits = fold_splits(store, a.folds, over=("train", "valid", "test"), seed=repeat)
            settings = replace(config, seed=repeat)
            found += [scores_of_fold(with_split(store, split), settings) for split in splits]
            means = zip(METHODS, np.mean(found, (0, 2)), strict=True)
            print(f"repeat {repeat}: " + ", ".join(f"{m} {v:.3f}" for m, v in means), flush=True)
    table = np.array(found)  # [folds, methods, tasks]
    table = np.concatenate([table, table.mean(2, keepdims=True)], 2)
    rows = []
    for place, task in enumerate((*tasks, "average")):
        ours, linear, every = table[..., place].T
        gap = ours - linear
        rows.append([task, float(ours.mean()), float(linear.mean()), float(gap.mean()),
                     corrected_error(gap, a.folds), float(every.mean())])  # fmt: skip
    columns = ["task", *(f"R2, {m}" for m in METHODS[:2]), "difference", "corrected se",
               f"R2, {METHODS[2]}"]  # fmt: skip
    write_result(
        a.out / "houses.json", {"settings": config.to_dict(), "columns": columns, "rows": rows}
    )


if __name__ == "__main__":
    main()
