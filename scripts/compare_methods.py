"""Fusions, sharings and balancings on one fair comparison, over data sets and with data removed.

    python scripts/compare_methods.py                 # at most 8 hours on two cores
    python scripts/compare_methods.py --quick         # under 20 minutes; no search, so no result
    python scripts/compare_methods.py mosi --every    # every method there is
    python scripts/compare_methods.py planted_v1 --every --missing

For each data set: fusions, then sharings and balancings on graph fusion, each method with the same
search (`gnnfusion.training.compare`). With --missing, 50 % of labels and 30 % of modalities are
first taken from the training rows at random; where the comparison on full data is there, the share
of each method's gain over guessing that is kept, (1 - score) / (1 - full score), stands beside it.
Resumable: finished trials lie in --work. Writes docs/results/compare_NAME.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from parts.inputs import drawn_on_train, load_frozen  # scripts/ is where this program lies
from parts.results import provenance

from gnnfusion import GraphStore, TrainConfig, build, datasets
from gnnfusion.graphs.views import with_missing
from gnnfusion.nn.fusion import FUSIONS
from gnnfusion.nn.sharing import SHARINGS
from gnnfusion.report.comparison import plot_comparison
from gnnfusion.show import comparison_rows, print_table, search_effort
from gnnfusion.training.balancing import BALANCINGS
from gnnfusion.training.compare.compare import compare
from gnnfusion.whole import write_json

# Epochs at most, where the data set's own would make the whole study longer than a night.
STUDY = {"mosi": None, "houses": None, "planted": 20, "fsdd_digits": 10, "utd_mhad": 30}
GRAPH = "gatv2"
CORE = {
    # Graph fusion first: the control, single-task training, is with the first.
    "fusions": (GRAPH, "concat", "average", "gated", "late", "transformer", "gcn", "sage"),
    "sharings": ("hard", "mmoe"),
    "balancings": ("static", "uncertainty", "dwa", "mgda", "upgrad", "pcgrad", "cagrad", "famo"),
}


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(STUDY), metavar="NAME",
                        help=f"data sets, by default {' '.join(STUDY)}")  # fmt: skip
    parser.add_argument("--kinds", nargs="+", choices=CORE, default=list(CORE))
    parser.add_argument("--every", action="store_true", help="every method, not the core alone")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--trial_seconds", type=float, default=20.0)
    parser.add_argument("--epochs", type=int, help="at most so many")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--quick", action="store_true", help="no search, one seed, three epochs")
    parser.add_argument("--work", type=Path, default=Path("runs/compare"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    a = parser.parse_args()
    unknown = set(a.names) - set(datasets.names())
    if unknown:
        parser.error(f"no data set {', '.join(sorted(unknown))}; use {', '.join(datasets.names())}")
    if a.quick:
        a.seeds, a.trials, a.epochs = 1, 1, min(3, a.epochs or 3)
    for name in a.names:
        for kind in a.kinds:
            study(a, name, kind, families(a.every)[kind])


def families(every: bool) -> dict[str, dict[str, tuple[str, ...]]]:
    """What is compared: fusions, and on graph fusion sharings and balancings."""
    chosen = CORE
    if every:
        others = tuple(f for f in FUSIONS if f != GRAPH)
        chosen = {
            "fusions": (GRAPH, *others),
            "sharings": tuple(s for s in SHARINGS if s not in ("single", "task_nodes")),
            "balancings": tuple(BALANCINGS),
        }
    return {
        "fusions": {"fusions": chosen["fusions"]},
        # Task nodes are what `auto` comes to, and single tasks are the control.
        "sharings": {"fusions": (GRAPH,), "sharings": ("auto", *chosen["sharings"])},
        "balancings": {"fusions": (GRAPH,), "balancings": chosen["balancings"]},
    }


def study(a: argparse.Namespace, name: str, kind: str, methods: dict[str, tuple[str, ...]]) -> None:
    """One comparison: its table on the terminal, its file and figure in the documents."""
    base = TrainConfig.from_dict({**datasets.defaults(name), "refit": False})
    base = replace(base, epochs=min(e for e in (base.epochs, STUDY.get(name), a.epochs) if e))
    mode = ("_missing" if a.missing else "") + ("_quick" if a.quick else "")
    label = f"{name}_{kind}{mode}"
    store = prepared(a.work / "stores" / name, name, a.missing)
    effort = search_effort(a.trials, a.trial_seconds)
    print(f"{label}: {effort}, {a.seeds} seeds for each method", flush=True)
    result = compare(
        store, a.work / f"{name}{mode}", fusions=methods["fusions"],
        sharings=methods.get("sharings", ("auto",)),
        balancings=methods.get("balancings", ("static",)), seeds=a.seeds, trials=a.trials,
        trial_seconds=a.trial_seconds, base=base, jobs=a.jobs, say=say,
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
    # The planted exam has no validation rows of its own.
    rows = {"valid": 100} if name == "planted_v1" else {}
    store = build(load_frozen(name, **rows), path, progress=False)
    if not missing:
        return store
    draw = torch.Generator().manual_seed(0)
    labels = drawn_on_train(store, len(store.schema.tasks), 0.5, draw)
    modalities = drawn_on_train(store, len(store.schema.modalities), 0.3, draw)
    less = path.with_name(f"{path.name}_missing")
    with_missing(store, labels, modalities).save(less)
    return GraphStore.open(less)


def say(line: str, done: int, total: int) -> None:
    """One line a trial."""
    print(f"[{done}/{total}] {line}", flush=True)


if __name__ == "__main__":
    main()
