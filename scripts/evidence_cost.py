"""Does training with known labels cost anything when none is known? Five paired seeds.

    python scripts/evidence_cost.py planted mosi houses --seeds 5

Trains each data set's chosen settings twice per seed, with their `evidence` (0.5 where they have
none; MOSI without the text model that is trained further) and with `evidence 0`,
and scores both with nothing known: the mean over tasks of the loss on test rows over that of the
training-mean predictor (lower is better). The claim holds where the mean paired difference is at
most one standard error above zero. Writes docs/results/evidence_cost.json.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from parts.inputs import load_frozen  # scripts/ is where this program lies
from parts.results import mean_and_error, write_result
from parts.scores import score_on_test

from gnnfusion import TrainConfig, build, datasets

EVIDENCE = 0.5  # where a data set's own settings have switched it off

COLUMNS = ["data set", "with evidence", "without", "difference", "standard error", "holds"]


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=datasets.names())
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    a = parser.parse_args()
    rows, per_seed = [], {}
    for name in a.names:
        config = TrainConfig.from_dict(datasets.defaults(name))
        config = replace(config, evidence=config.evidence or EVIDENCE)
        with tempfile.TemporaryDirectory() as folder:
            store = build(load_frozen(name), Path(folder) / "store", progress=False)
            pairs = []
            for seed in range(a.seeds):
                settings = [replace(config, seed=seed, evidence=e) for e in (config.evidence, 0.0)]
                pairs.append([score_on_test(store, s) for s in settings])
                print(name, "seed", seed, pairs[-1], flush=True)
        found = np.array(pairs)
        gap, error = mean_and_error(found[:, 0] - found[:, 1])
        per_seed[name] = pairs
        with_evidence, without = found.mean(axis=0).tolist()
        rows.append([name, with_evidence, without, gap, error, gap <= error])
        # After each data set, for all of them take an hour.
        write_result(a.out / "evidence_cost.json",
                     {"columns": COLUMNS, "rows": rows, "per_seed": per_seed})  # fmt: skip


if __name__ == "__main__":
    main()
