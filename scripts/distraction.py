"""Is a fusion hurt by a modality that carries nothing? Planted arrays with one of pure noise added.

    python scripts/distraction.py

Each data seed is a data set of its own: three modalities that show the tasks' factors, and in its
twin a fourth of noise alone, which says nothing of any task (`--width` numbers a node; more of them
are easier to learn by heart). Both are trained with the same settings and stopped by validation
rows; the score is the mean over tasks of the loss on new rows over that of guessing the training
mean, lower is better. The difference is paired over data seeds. `FUSION:SETTING=VALUE` trains with
one setting changed, in both, to see whether it is a remedy: `encoder.NAME` sets one of every
modality's encoder. Writes docs/results/distraction.json.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from parts.inputs import planted_store, with_value  # scripts/ is where this program lies
from parts.results import mean_and_error, write_result
from parts.scores import score_on_test

from gnnfusion import TrainConfig, datasets
from gnnfusion.datasets.planted import PlantedArrays

METHODS = (
    "concat", "average", "gated", "transformer", "gcn", "gatv2", "gatv2:modality_dropout=0.3",
    "gatv2:encoder.input_dropout=0.5", "gatv2:encoder.select=0.1", "gatv2:encoder.select=0.3",
)  # fmt: skip
SIZES = {"train": 200, "valid": 100, "test": 600}


def distracted(data: PlantedArrays, width: int) -> PlantedArrays:
    """The same data with a modality of pure noise, as many nodes as the others have."""
    rows, nodes = len(data), data.spec.nodes
    noise = np.random.default_rng([data.seed, 9]).standard_normal((rows, nodes, width))
    return replace(
        data,
        x={**data.x, "noise": noise.astype(np.float32)},
        present={**data.present, "noise": np.ones(rows, bool)},
    )


def read(method: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the training and of every encoder."""
    fusion, _, change = method.partition(":")
    settings = {**datasets.defaults("planted_v1"), "refit": False, "evidence": 0.0}
    config = with_value(settings, "network.fusion", fusion)
    name, _, text = change.partition("=")
    if name.startswith("encoder."):
        return config, {name.removeprefix("encoder."): yaml.safe_load(text)}
    return (with_value(config, name, yaml.safe_load(text)) if name else config), {}


def main() -> None:
    """Train, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="FUSION[:SETTING=VALUE]")
    parser.add_argument("--data_seeds", type=int, default=5)
    parser.add_argument("--first_seed", type=int, default=200)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    a = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {method: [] for method in a.methods}
    for seed in range(a.first_seed, a.first_seed + a.data_seeds):
        data = datasets.planted_arrays(seed=seed, **SIZES)
        for method in a.methods:
            settings, encoder = read(method)
            config = TrainConfig.from_dict({**settings, "seed": seed})
            pair = [
                score_on_test(planted_store(each, encoder), config)
                for each in (data, distracted(data, a.width))
            ]
            found[method].append((pair[0], pair[1]))
            print(
                f"seed {seed}, {method}: {pair[0]:.3f} without noise, {pair[1]:.3f} with",
                flush=True,
            )
    rows = []
    for method, pairs in found.items():
        without, beside = np.array(pairs).T
        means = float(without.mean()), float(beside.mean())
        rows.append([method, *means, *mean_and_error(beside - without)])
    columns = ["method", "without", "with noise", "difference", "standard error"]
    write_result(a.out / "distraction.json", {"columns": columns, "rows": rows, "per_seed": found})


if __name__ == "__main__":
    main()
