"""Choose a data set's settings by cross-validation over train + valid.

    python scripts/cross_validate.py mosi --group video --score sentiment.mae
    python scripts/cross_validate.py mosi --group video --folds 3 --members 3

Reads datasets/NAME/grid.yaml (a name and settings per line; what is not named is as in
`TrainConfig`), trains every entry on every fold for exactly its epochs, and prints the means over
folds. With `--members` each fold is trained with so many seeds, and their averaged predictions
(as `gnnfusion predict RUN RUN ...` averages them) are scored beside single trainings. Test rows are
never touched.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pandas as pd
from parts.results import mean_and_spread  # scripts/ is where this program lies

from gnnfusion import TrainConfig, build, datasets
from gnnfusion.datasets.files import read_yaml
from gnnfusion.show import print_table
from gnnfusion.training.crossval import fold_splits, gathered, predictions_of_fold
from gnnfusion.training.ensemble import averaged
from gnnfusion.training.evaluate import scores_of_predictions


def main() -> None:
    """Cross-validate each entry of the grid and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=datasets.names())
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--group", help="column of the table whose groups are never cut")
    parser.add_argument("--members", type=int, default=1, help="trainings that are averaged")
    parser.add_argument("--score", default="", help="TASK.METRIC,... to show; all by default")
    a = parser.parse_args()
    schema = datasets.load(a.name)
    table = pd.read_csv(schema.base / schema.table)
    groups = None if a.group is None else pd.factorize(table[a.group])[0]
    with tempfile.TemporaryDirectory() as folder:
        store = build(schema, Path(folder) / "store", progress=False)
        for entry, settings in read_yaml(a.name, "grid.yaml").items():
            configs = [
                TrainConfig.from_dict({**settings, "refit": True, "seed": seed})
                for seed in range(a.members)
            ]
            single, together = [], []
            for split in fold_splits(store, a.folds, groups):
                held, found = predictions_of_fold(store, split, configs)
                single += [scores_of_predictions(*held, each) for each in found]
                together.append(scores_of_predictions(*held, averaged(store.schema.tasks, found)))
            show(f"{entry}, one training", single, a.score)
            if a.members > 1:
                show(f"{entry}, {a.members} averaged", together, a.score)


def show(name: str, found: list[dict[str, dict[str, float]]], asked: str) -> None:
    """Print the mean and spread of each score that is asked for."""
    rows = [
        [name, f"{task}.{metric}", *(f"{x:.4f}" for x in mean_and_spread(values))]
        for task, metrics in gathered(found).items()
        for metric, values in metrics.items()
        if not asked or f"{task}.{metric}" in asked.split(",")
    ]
    print_table(["settings", "score", "mean over folds", "sd"], rows)


if __name__ == "__main__":
    main()
