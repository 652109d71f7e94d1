"""Train a graph attention network over several seeds, and print mean and spread of its scores.

    python scripts/train_gat.py planted -o runs/planted_gat --seeds 3
    python scripts/train_gat.py machines/schema.yaml -o runs/machines_gat --epochs 20 --fusion gat
    python scripts/train_gat.py mosi -o runs/mosi_gatv2 --fusion gatv2

A data set is trained with the settings that validation chose for it; flags override them. Called
again, finished seeds are read and an unfinished one resumes. Scores are those of the test rows,
with no label known.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import gnnfusion as gf
from gnnfusion.errors import GnnFusionError


def pair(text: str) -> tuple[str, Any]:
    """``rows=60`` as ("rows", 60)."""
    name, _, value = text.partition("=")
    return name, yaml.safe_load(value)


def load(source: str, options: dict[str, Any]) -> tuple[gf.Schema, gf.TrainConfig]:
    """Schema and settings of a data set, or of a schema file with the default settings."""
    if source in gf.datasets.names():
        schema = gf.datasets.load(source, **options)
        return schema, gf.TrainConfig.from_dict(gf.datasets.defaults(source))
    return gf.Schema.from_yaml(source), gf.TrainConfig()


def print_scores(runs: list[gf.Run]) -> None:
    """Mean and standard deviation over runs of each metric of each task."""
    scores = [run.metrics["split"]["test"] for run in runs]
    print(f"{'task':16} {'metric':18} {'mean':>8} {'sd':>8}   each seed")
    for task, metrics in scores[0].items():
        for metric in metrics:
            values = np.array([s[task].get(metric, np.nan) for s in scores])
            spread = f"{values.std(ddof=1):8.4f}" if len(values) > 1 else f"{'':8}"
            each = " ".join(f"{v:.4f}" for v in values)
            print(f"{task:16} {metric:18} {values.mean():8.4f} {spread}   {each}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="name of a data set, or a schema file")
    parser.add_argument("-o", "--out", type=Path, required=True,
                        help="folder for the store and a run per seed")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3, help="how many (default 3)")
    parser.add_argument("--fusion", choices=("gat", "gatv2", "gcn"), default="gat")
    parser.add_argument("--epochs", type=int, help="at most")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--option", type=pair, action="append", default=[], metavar="NAME=VALUE",
                        help="option of the data set, such as rows=60")  # fmt: skip
    parser.add_argument("--workers", type=int, help="processes that read media")
    args = parser.parse_args()
    try:
        schema, config = load(args.source, dict(args.option))
        config = replace(config, device=args.device,
                         network=replace(config.network, fusion=args.fusion))  # fmt: skip
        if args.epochs is not None:
            config = replace(config, epochs=args.epochs)
        store = gf.build(schema, args.out / "store", workers=args.workers, progress=False)
        runs = []
        for seed in range(args.seeds):
            print(f"seed {seed} ...", flush=True)
            runs.append(gf.train(store, args.out / f"seed{seed}", replace(config, seed=seed)))
    except GnnFusionError as error:
        parser.exit(error.exit_code, f"{error}\n")
    print_scores(runs)
    print("runs:", *(run.path for run in runs))


if __name__ == "__main__":
    main()
