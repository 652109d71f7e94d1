"""Choose a data set's settings by cross-validation over train + valid.

    python scripts/cross_validate.py mosi --group video --score sentiment.mae

Reads datasets/NAME/grid.yaml (a name and settings per line; what is not named is as in
`TrainConfig`), trains every entry on every fold for exactly its epochs, and prints the means over
folds. Test rows are never touched.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from gnnfusion import TrainConfig, build, datasets
from gnnfusion.datasets.files import read_yaml
from gnnfusion.show import print_table
from gnnfusion.training.crossval import cross_validate


def main() -> None:
    """Cross-validate each entry of the grid and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=datasets.names())
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--group", help="column of the table whose groups are never cut")
    parser.add_argument("--score", default="", help="TASK.METRIC,... to show; all by default")
    a = parser.parse_args()
    schema = datasets.load(a.name)
    table = pd.read_csv(schema.base / schema.table)
    groups = None if a.group is None else pd.factorize(table[a.group])[0]
    with tempfile.TemporaryDirectory() as folder:
        store = build(schema, Path(folder) / "store", progress=False)
        for entry, settings in read_yaml(a.name, "grid.yaml").items():
            config = TrainConfig.from_dict({**settings, "refit": True})
            found = cross_validate(store, config, a.folds, groups)
            rows = [
                [entry, f"{task}.{metric}", f"{np.mean(v):.4f}", f"{np.std(v, ddof=1):.4f}"]
                for task, metrics in found.items()
                for metric, v in metrics.items()
                if not a.score or f"{task}.{metric}" in a.score.split(",")
            ]
            print_table(["settings", "score", "mean over folds", "sd"], rows)


if __name__ == "__main__":
    main()
