"""The commands: each calls the public API with what was parsed, and prints what it made."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from gnnfusion.errors import UsageError
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.groups import read_groups, read_weights
from gnnfusion.whole import whole_file, write_json


def init(a: Namespace) -> None:
    from gnnfusion.samples.infer import infer_schema
    from gnnfusion.show import print_table

    tasks = tuple(t for t in a.tasks.split(",") if t)
    schema, guesses = infer_schema(a.table, tasks, id=a.id)
    folder = Path(a.table) if Path(a.table).is_dir() else Path(a.table).parent
    out = Path(a.out) if a.out else folder / "schema.yaml"
    if out.exists():
        raise UsageError(f"{out} exists; remove it or name another file with -o")
    print_table(["column", "guess", "because"], [[g.column, g.kind, g.reason] for g in guesses])
    schema.to_yaml(out)
    print(f"schema: {out}")


def build(a: Namespace) -> None:
    from gnnfusion.graphs.build import build as build_store

    schema = _schema(a.source)
    store = build_store(
        schema, a.out, table=a.table, workers=a.workers, strict=a.strict, progress=True
    )
    _print_store(store, Path(a.out))


def train(a: Namespace) -> None:
    from gnnfusion.training.fit import train as train_run
    from gnnfusion.training.run import INTERFERENCE

    values = a.as_dict()
    other = ("store", "out", "config", "auto", "budget", "groups", "task_weights")
    config = TrainConfig.from_dict({k: v for k, v in values.items() if k not in other})
    config = _grouped(config, a.groups)
    store = _store(a.store)
    if a.task_weights:
        from gnnfusion.graphs.views import with_weights

        store = with_weights(store, read_weights(a.task_weights))
    if a.auto:
        from gnnfusion.training.compare.auto import choose_settings

        config, verdict = choose_settings(
            store, f"{a.out}-compare", config, budget=a.budget, say=progress()
        )
        print(verdict)
    run = train_run(store, a.out, config, progress=sys.stderr.isatty())
    _print_scores(run.metrics)
    if (run.path / INTERFERENCE).is_file():
        from gnnfusion.report.figures import plot_interference

        place = run.path / "figures" / "interference.png"
        print(f"interference: {plot_interference(run.interference, place)}")
    print(f"run: {run.path}")


def evaluate(a: Namespace) -> None:
    from gnnfusion.training.run import Run

    metrics = Run.load(a.run).evaluate(read_splits(a.splits), a.device)
    _print_scores(metrics)
    _write_json(a.json, metrics)


def predict(a: Namespace) -> None:
    from gnnfusion.training.predict import predict as predict_rows
    from gnnfusion.training.run import Run

    out = Path(a.out)
    if out.suffix not in (".csv", ".parquet"):
        raise UsageError(f"{out} must end in .csv or .parquet")
    frame = predict_rows(
        [Run.load(run) for run in a.runs], a.table, given=a.given, weights=a.weights,
        device=a.device, workers=a.workers,
    )  # fmt: skip
    with whole_file(out) as part:
        if out.suffix == ".csv":
            frame.to_csv(part, index=False)
        else:
            frame.to_parquet(part, index=False)
    bad = frame[frame["problem"] != ""]
    for row in bad.itertuples(index=False):
        print(f"row {row[0]!r}: {row.problem}", file=sys.stderr)
    print(f"predictions: {out} ({len(frame)} rows, {len(bad)} with a problem)")


def compare(a: Namespace) -> None:
    from gnnfusion.report.comparison import plot_comparison
    from gnnfusion.show import comparison_rows, methods, print_table, search_effort
    from gnnfusion.training.compare.compare import RESULT, WEIGHTS
    from gnnfusion.training.compare.compare import compare as compare_methods
    from gnnfusion.training.compare.config import WeightSearch

    known = methods()
    names = {
        f"{kind}s": tuple(known[kind])
        if a[kind] == "all"
        else tuple(name.strip() for name in a[kind].split(","))
        for kind in ("fusion", "sharing", "balancing")
    }
    base, out = TrainConfig.from_dict(a["base"].as_dict()), Path(a.out)
    if a.search not in ("none", "weights"):
        raise UsageError(f"unknown search {a.search!r}; use weights or none")
    weights = WeightSearch(**a["weights"].as_dict()) if a.search == "weights" else None
    readers = () if a.baselines == "none" else tuple(a.baselines.split(","))
    print(f"every method: {search_effort(a.trials, a.trial_seconds)}, {a.seeds} seeds",
          file=sys.stderr)  # fmt: skip
    if weights is not None:
        print(f"weights: at most {weights.candidates} vectors in {weights.folds} folds, each at "
              f"most {a.trial_seconds:g} s", file=sys.stderr)  # fmt: skip
    result = compare_methods(
        _store(a.store), out, **names, seeds=a.seeds, trials=a.trials, base=base, jobs=a.jobs,
        trial_seconds=a.trial_seconds, budget=a.budget, baselines=readers, weights=weights,
        say=progress(),
    )  # fmt: skip
    head, rows = comparison_rows(result)
    print_table(head, rows)
    for name, reason in result["left_out"].items():
        print(f"left out: {name}: {reason}")
    print(result["verdict"])
    if result.get("weight_search", {}).get("weights"):
        print(f"weights: {out / WEIGHTS}")
    print(f"figure: {plot_comparison(result, out / 'compare.png')}")
    print(f"results: {out / RESULT}")


def data(a: Namespace) -> None:
    from gnnfusion import datasets
    from gnnfusion.datasets.download import get
    from gnnfusion.show import print_table

    if a.action == "list":
        print_table(["name", "what"], [[n, datasets.summary(n)] for n in datasets.names()])
    else:
        print(f"data: {get(a['get']['name'], url=a['get']['url'])}")


def info(a: Namespace) -> None:
    from gnnfusion.show import environment, methods, print_table

    if a.methods:
        listed = methods()
        print_table(
            ["what", "name", "does", "reference", "question", "family"],
            [[kind, name, *entry.values(), *[""] * (4 - len(entry))]
             for kind, table in listed.items() for name, entry in table.items()],
        )  # fmt: skip
        _write_json(a.json, listed)
        return
    found = environment()
    print_table(["what", "is"], [[k, str(v)] for k, v in found.items()])
    _write_json(a.json, found)


def demo(a: Namespace) -> None:
    from gnnfusion.demo import run_demo

    run_demo(Path(a.out), quick=a.quick, seed=a.seed, device=a.device)


# -- groups of tasks --------------------------------------------------------------------------


def _grouped(config: TrainConfig, path: str | None) -> TrainConfig:
    """The settings with the groups of a file."""
    if path is None:
        return config
    return replace(config, network=replace(config.network, groups=read_groups(path)))


# -- shared -----------------------------------------------------------------------------------


def read_splits(text: str) -> tuple[str, ...]:
    """Names of splits, comma-separated; `UsageError` for another name."""
    from gnnfusion.schema import SPLITS

    names = tuple(s for s in text.split(",") if s)
    for name in names:
        if name not in SPLITS:
            raise UsageError(f"unknown split {name!r}; use {', '.join(SPLITS)}")
    return names


def _schema(source: str) -> Any:
    from gnnfusion import datasets
    from gnnfusion.schema import Schema

    if source in datasets.names() and not Path(source).exists():
        return datasets.load(source)
    return Schema.from_yaml(source)


def _store(source: str) -> Any:
    """A store by path, or of a data set by name, built once into the cache."""
    from gnnfusion import datasets
    from gnnfusion.graphs.build import build as build_store
    from gnnfusion.graphs.store import GraphStore

    if source in datasets.names() and not Path(source).exists():
        schema = datasets.load(source)
        return build_store(schema, schema.base.parent.parent / "stores" / schema.base.name)
    return GraphStore.open(source)


def _print_store(store: Any, path: Path) -> None:
    from gnnfusion.graphs.build import REPORT
    from gnnfusion.show import print_table

    rows = [
        [name, str(len(store.nodes(name).x)), "x".join(map(str, store.spec(name).shape)),
         f"{int((store.nodes(name).ptr.diff() > 0).sum())}/{len(store)}"]
        for name in store.schema.modality_names
    ]  # fmt: skip
    print_table(["modality", "nodes", "shape", "samples that have it"], rows)
    counts = [f"{len(store.rows(s))} {s}" for s in ("train", "valid", "test")]
    print(f"{len(store)} samples: {', '.join(counts)}")
    problems = max(0, sum(1 for _ in (path / REPORT).open(encoding="utf-8")) - 1)
    if problems:
        print(f"{problems} problems, listed in {path / REPORT}")
    print(f"store: {path}")


def progress() -> Callable[[str, int, int], None]:
    """Says lines with how much is done and about how long the rest will take."""
    began, first = time.monotonic(), list[int]()

    def say(line: str, done: int, total: int) -> None:
        first.append(done)
        fresh = done - first[0]
        left = (time.monotonic() - began) / fresh * (total - done) if fresh else 0.0
        rest = f", about {left / 60:.0f} min left" if left > 30 else ""
        print(f"[{done}/{total}{rest}] {line}", file=sys.stderr, flush=True)

    return say


def _print_scores(metrics: dict[str, Any]) -> None:
    from gnnfusion.show import print_table, score_rows

    print_table(["split", "task", "metric", "no label known", "others known"], score_rows(metrics))


def _write_json(path: str | None, values: Any) -> None:
    if path is not None:
        write_json(path, values)
