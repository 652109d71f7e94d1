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
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from parts.inputs import (
    load_frozen,
    reading,
    with_encoder,
    with_value,
)  # scripts/ is where this program lies
from parts.results import markdown, mean_and_error, mean_and_spread, write_result

from gnnfusion import GraphStore, TrainConfig, build, datasets
from gnnfusion.errors import UsageError
from gnnfusion.graphs.topology import default_rules
from gnnfusion.graphs.views import with_topology
from gnnfusion.training.fit import fit


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


def varied_inputs(
    name: str, setting: str, values: list[str], config: dict[str, Any], folder: Path
) -> dict[str, tuple[GraphStore, dict[str, Any]]]:
    """Store and settings of each value; `UsageError` for a modality that there is not."""
    schema, found = load_frozen(name), {}
    of_schema = setting == "modalities" or setting.startswith("encoder.")
    plain = None if of_schema else build(schema, folder / "store", progress=False)
    for value in values:
        if plain is not None and setting == "wiring":
            found[value] = with_topology(plain, rules(plain, value)), config
        elif plain is not None:
            found[value] = plain, with_value(config, setting, yaml.safe_load(value))
        else:
            if setting == "modalities":
                changed = reading(schema, value.split(","))
            else:
                names, _, encoder = setting.removeprefix("encoder.").partition(".")
                read = yaml.safe_load(value)
                changed = with_encoder(schema, names.split(","), encoder, read)
            found[value] = build(changed, folder / f"store {value}", progress=False), config
    return found


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
        try:
            varied = varied_inputs(a.name, a.setting, a.values, config, Path(folder))
        except UsageError as error:
            parser.error(str(error))
        for seed in range(a.seeds):
            for value, (store, settings) in varied.items():
                chosen = TrainConfig.from_dict({**settings, "seed": seed})
                _, keeper = fit(store, chosen, None)
                scores.setdefault(value, []).append(keeper.best_score)
                print(f"{a.setting} {value}, seed {seed}: {keeper.best_score:.4f}", flush=True)
    first = np.array(scores[a.values[0]])
    rows = []
    for value, found in scores.items():
        rows.append([value, *mean_and_spread(found), *mean_and_error(np.array(found) - first)])
    columns = [a.setting, "validation score", "sd over seeds", "difference", "standard error"]
    if a.json is None:
        print(markdown(columns, rows))
    else:
        write_result(a.json, {"columns": columns, "rows": rows, "per_seed": scores})


if __name__ == "__main__":
    main()
