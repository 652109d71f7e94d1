"""What does one setting do on validation rows? Paired over seeds, everything else alike.

    python scripts/vary.py mosi ema 0 0.9 0.98 --seeds 4 --set lr=0.003 network.fusion=gatv2
    python scripts/vary.py houses network.layers 1 2 3
    python scripts/vary.py mosi wiring default full asks
    python scripts/vary.py mosi modalities text text,audio
    python scripts/vary.py houses encoder.kitchen,frontal.select 0 0.1

`wiring` is the topology: the default one, with `full` edges between modalities that it leaves
apart, or with edges from the tasks back to all nodes (`asks`). `modalities` are those that are
read: is the fusion hurt by one that carries little? `encoder.NAMES.SETTING` is a setting of the
encoders of these modalities.

Trains a data set's own settings (frozen text for MOSI, and stopped early: no refit) with each value
and seeds 0, 1, …, and prints the validation score: mean over tasks of the loss over that of always
predicting the training mean, less is better. The difference is from the first value, with the
standard error of the paired differences. Test rows are not looked at. With --json the figures are
written, with the command and versions.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from parts.inputs import load_frozen, reading, with_value  # scripts/ is where this program lies
from parts.results import markdown, mean_and_spread, write_result

from gnnfusion import GraphStore, Schema, TrainConfig, build, datasets
from gnnfusion.graphs.topology import default_rules
from gnnfusion.graphs.views import with_topology
from gnnfusion.training.fit import fit


def with_encoder(schema: Schema, setting: str, value: Any) -> Schema:
    """The schema with one setting of the encoders that ``encoder.NAMES.SETTING`` names."""
    _, names, name = setting.split(".")
    changed = tuple(
        replace(m, encoder={**m.encoder, name: value}) if m.name in names.split(",") else m
        for m in schema.modalities
    )
    return replace(schema, modalities=changed)


def rules(store: GraphStore, wiring: str) -> list[dict[str, Any]]:
    """The default topology and what a wiring adds to it."""
    names = store.schema.modality_names
    found = default_rules(store.schema, {m: store.spec(m) for m in names})
    joined = {(r["nearest"]["source"], r["nearest"]["target"]) for r in found if "nearest" in r}
    added: dict[str, list[dict[str, Any]]] = {
        "default": [],
        "full": [{"full": {"source": a, "target": b}}
                 for a, b in permutations(names, 2) if (a, b) not in joined],
        "asks": [{"asks": {"modality": m}} for m in names],
    }  # fmt: skip
    return found + added[wiring]


def main() -> None:
    """Train, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=datasets.names())
    parser.add_argument("setting")
    parser.add_argument("values", nargs="+", help="as in YAML")
    parser.add_argument("--set", nargs="*", default=[], metavar="SETTING=VALUE")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    config: dict[str, Any] = {**datasets.defaults(a.name), "refit": False}
    for each in a.set:
        name, _, text = each.partition("=")
        config = with_value(config, name, yaml.safe_load(text))
    scores: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        schema = load_frozen(a.name)
        plain = build(schema, Path(folder) / "store", progress=False)
        stores, settings = dict.fromkeys(a.values, plain), dict.fromkeys(a.values, config)
        for value in stores:
            if a.setting == "wiring":
                stores[value] = with_topology(plain, rules(plain, value))
            elif a.setting == "modalities":
                read = reading(schema, value.split(","))
                stores[value] = build(read, Path(folder) / value, progress=False)
            elif a.setting.startswith("encoder."):
                changed = with_encoder(schema, a.setting, yaml.safe_load(value))
                stores[value] = build(changed, Path(folder) / value, progress=False)
            else:
                settings[value] = with_value(config, a.setting, yaml.safe_load(value))
        for seed in range(a.seeds):
            for value, store in stores.items():
                chosen = TrainConfig.from_dict({**settings[value], "seed": seed})
                _, keeper = fit(store, chosen, None)
                scores.setdefault(value, []).append(keeper.best_score)
                print(f"{a.setting} {value}, seed {seed}: {keeper.best_score:.4f}", flush=True)
    first = np.array(scores[a.values[0]])
    rows = []
    for value, found in scores.items():
        gap = np.array(found) - first
        error = float(gap.std(ddof=1) / len(gap) ** 0.5) if len(gap) > 1 else float("nan")
        rows.append([value, *mean_and_spread(found), float(gap.mean()), error])
    columns = [a.setting, "validation score", "sd over seeds", "difference", "standard error"]
    if a.json is None:
        print(markdown(columns, rows))
    else:
        write_result(a.json, {"columns": columns, "rows": rows, "per_seed": scores})


if __name__ == "__main__":
    main()
