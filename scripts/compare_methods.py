"""Every fusion and every balancing on one fair comparison, over data sets and with data removed.

    python scripts/compare_methods.py --quick
    python scripts/compare_methods.py mosi utd_mhad fsdd_digits houses planted

For each data set: fusions, then sharings and balancings on graph fusion, each method with the same
search (`gnnfusion.training.compare`). With --missing, 50 % of labels and 30 % of modalities are
first taken from the training rows at random; where the comparison on full data is there, the share
of each method's gain over guessing that is kept, (1 - score) / (1 - full score), stands beside it.
Resumable: finished trials lie in --work. Writes docs/results/compare_NAME.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from study import provenance  # scripts/ is where this program lies, so it is on the path

from gnnfusion import GraphStore, TrainConfig, build, datasets
from gnnfusion.nn.fusion import FUSIONS
from gnnfusion.nn.sharing import SHARINGS
from gnnfusion.report.comparison import plot_comparison
from gnnfusion.show import comparison_rows, print_table
from gnnfusion.training.balancing import BALANCINGS
from gnnfusion.training.compare.compare import compare
from gnnfusion.whole import write_json

GRAPH = "gatv2"
QUICK = {
    "fusions": ("concat", "average", "gated", "late", "transformer", "gcn", "sage", "gatv2"),
    "sharings": ("hard", "mmoe"),
    "balancings": ("static", "uncertainty", "dwa", "mgda", "upgrad", "pcgrad", "cagrad", "famo"),
}


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=["planted"], choices=datasets.names())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--trial_seconds", type=float, default=60.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--quick", action="store_true", help="few methods, trials and epochs")
    parser.add_argument("--work", type=Path, default=Path("runs/compare"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    a = parser.parse_args()
    for name in a.names:
        for kind, methods in families(a.quick).items():
            study(a, name, kind, methods)


def families(quick: bool) -> dict[str, dict[str, tuple[str, ...]]]:
    """What is compared: all fusions, and on graph fusion all sharings and all balancings."""
    all_names = {
        "fusions": tuple(FUSIONS), "sharings": tuple(SHARINGS), "balancings": tuple(BALANCINGS),
    }  # fmt: skip
    names = QUICK if quick else all_names
    return {
        "fusions": {"fusions": names["fusions"]},
        "sharings": {"fusions": (GRAPH,), "sharings": names["sharings"]},
        "balancings": {"fusions": (GRAPH,), "balancings": names["balancings"]},
    }


def study(a: argparse.Namespace, name: str, kind: str, methods: dict[str, tuple[str, ...]]) -> None:
    """One comparison: its table on the terminal, its file and figure in the documents."""
    config = {**datasets.defaults(name), "refit": False}
    if a.quick:
        config |= {"epochs": min(8, config.get("epochs", 8))}
    base = TrainConfig.from_dict(config)
    label = f"{name}_{kind}" + ("_missing" if a.missing else "") + ("_quick" if a.quick else "")
    store = prepared(a.work / "stores" / name, name, a.missing)
    budget = a.trials * a.trial_seconds
    print(f"{label}: at most {budget:.0f} s of search for each method", flush=True)
    result = compare(
        store, a.work / label, fusions=methods["fusions"],
        sharings=methods.get("sharings", ("auto",)),
        balancings=methods.get("balancings", ("static",)), seeds=1 if a.quick else a.seeds,
        trials=2 if a.quick else a.trials, trial_seconds=a.trial_seconds, base=base, jobs=a.jobs,
        say=say,
    )  # fmt: skip
    print_table(*comparison_rows(result))
    print(result["verdict"], flush=True)
    full = a.out / f"compare_{label.replace('_missing', '')}.json"
    if a.missing and full.is_file():
        before = {m["name"]: m["test_score"] for m in json.loads(full.read_text())["methods"]}
        result["kept"] = {
            m["name"]: (1 - m["test_score"]) / (1 - before[m["name"]])
            for m in result["methods"] if m["name"] in before
        }  # fmt: skip
        print_table(["method", "kept"], [[n, f"{v:.2f}"] for n, v in result["kept"].items()])
    write_json(a.out / f"compare_{label}.json", {**result, **provenance()})
    plot_comparison(result, a.out.parent / "images" / f"compare_{label}.png")


def prepared(path: Path, name: str, missing: bool) -> GraphStore:
    """The data set's store, with labels and modalities taken from training rows if asked."""
    frozen = {"tune": False} if name == "mosi" else {}  # a trial has a minute
    store = build(datasets.load(name, **frozen), path, progress=False)
    if not missing:
        return store
    draw = torch.Generator().manual_seed(0)
    train = (store.split == 0).unsqueeze(1)
    labels = (torch.rand(store.masks.shape, generator=draw) < 0.5) & train
    shape = (len(store), len(store.schema.modalities))
    modalities = (torch.rand(shape, generator=draw) < 0.3) & train
    less = path.with_name(f"{path.name}_missing")
    store.with_missing(labels, modalities).save(less)
    return GraphStore.open(less)


def say(line: str, done: int, total: int) -> None:
    """One line a trial."""
    print(f"[{done}/{total}] {line}", flush=True)


if __name__ == "__main__":
    main()
