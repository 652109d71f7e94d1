"""Houses: graph fusion against ridge on the same features, 5 x 5-fold cross-validation.

    python scripts/houses.py

Every row is held out once in each of five repetitions with fixed seeds. Ridge reads the same
extracted features, pooled per modality (pixels, one-hot zip code), its penalty tuned by
leave-one-out on the training rows; ridge on the zip code alone is shown beside it. Differences
carry the corrected standard error of Nadeau and Bengio (2003), since folds share training rows.
Writes docs/results/houses.json.
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

from gnnfusion import TrainConfig, build, datasets
from gnnfusion.graphs.views import with_split
from gnnfusion.training.baselines import pooled
from gnnfusion.training.crossval import fold_splits
from gnnfusion.training.evaluate import outputs, scores
from gnnfusion.training.fit import fit


def corrected_error(differences: np.ndarray, folds: int) -> float:
    """Standard error of a mean over repeated k-fold, sqrt((1/n + 1/(k-1)) var)."""
    n = len(differences)
    return float(np.sqrt((1 / n + 1 / (folds - 1)) * differences.var(ddof=1)))


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    a = parser.parse_args()
    config = TrainConfig.from_dict({**datasets.defaults("houses"), "refit": True})
    ours: dict[str, list[float]] = {}
    baseline: dict[str, dict[str, list[float]]] = {"ridge": {}, "zip": {}}
    with tempfile.TemporaryDirectory() as folder:
        store = build(datasets.load("houses"), Path(folder) / "store", progress=False)
        features = {"ridge": pooled(store), "zip": pooled(store, ("place",))}
        everything = ("train", "valid", "test")
        for repeat in range(a.repeats):
            for split in fold_splits(store, a.folds, over=everything, seed=repeat):
                fold = with_split(store, split)
                train, held = fold.rows("train"), fold.rows("valid")
                inner = with_split(store, (split != 0).to(split.dtype) * 2)
                network, _ = fit(inner, replace(config, seed=repeat), None)
                found = scores(network, fold, held, outputs(network, fold, held))
                reader = make_pipeline(StandardScaler(), RidgeCV(10.0 ** np.arange(-1, 7)))
                for task in store.schema.task_names:
                    y = store.target(task)[:, 0].numpy()
                    ours.setdefault(task, []).append(found[task]["r2"])
                    for name, x in features.items():
                        predicted = reader.fit(x[train], y[train]).predict(x[held])
                        baseline[name].setdefault(task, []).append(r2_score(y[held], predicted))
            means = {t: (np.mean(ours[t]), np.mean(baseline["ridge"][t])) for t in ours}
            text = ", ".join(f"{t} {x:.3f} (ridge {y:.3f})" for t, (x, y) in means.items())
            print(f"repeat {repeat}: {text}", flush=True)
    for found in (ours, *baseline.values()):
        found["average"] = np.mean(list(found.values()), axis=0).tolist()
    rows = []
    for task in ours:
        difference = np.array(ours[task]) - np.array(baseline["ridge"][task])
        rows.append([task, float(np.mean(ours[task])), float(np.mean(baseline["ridge"][task])),
                     float(difference.mean()), corrected_error(difference, a.folds),
                     float(np.mean(baseline["zip"][task]))])  # fmt: skip
    columns = [
        "task",
        "R2, graph fusion",
        "R2, ridge",
        "difference",
        "corrected se",
        "R2, ridge on the zip code alone",
    ]
    result = {"settings": config.to_dict(), "columns": columns, "rows": rows}
    write_result(a.out / "houses.json", result)


if __name__ == "__main__":
    main()
