"""The commands: each calls the public API with what was parsed, and prints what it made."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from gnnfusion.errors import UsageError
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.groups import read_groups, read_weights
from gnnfusion.whole import whole_file, write_json

if TYPE_CHECKING:
    from gnnfusion.relatedness.task_graph import TaskGraph
    from gnnfusion.training.run import Run


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
        store = store.with_weights(read_weights(a.task_weights))
    if a.auto:
        from gnnfusion.training.compare.auto import choose_settings

        config, verdict = choose_settings(
            store, f"{a.out}-compare", config, budget=a.budget, say=_progress()
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

    metrics = Run.load(a.run).evaluate(_splits(a.splits), a.device)
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


def relate(a: Namespace) -> None:
    from gnnfusion.relatedness.relate import relate as relate_run
    from gnnfusion.report.captions import RANKS, UNTESTED
    from gnnfusion.report.task_graph_files import write_task_graph
    from gnnfusion.show import edge_rows, print_table
    from gnnfusion.training.run import Run

    run = Run.load(a.run)
    if a.validate:
        _validate(a, run)
        return
    folder, groups_file = _relate_outputs(a, run.path)
    if a.probe and a.method == "transfer":
        raise UsageError("--probe is for methods that read one training; leave it out of transfer")
    graph = relate_run(
        run, a.method, splits=_splits(a.splits), retrainings=a.retrainings, seeds=a.seeds,
        jobs=a.jobs, subsets=a.subsets, seed=a.seed, device=a.device,
        progress=sys.stderr.isatty(), say=_progress(),
    )  # fmt: skip
    made = write_task_graph(graph, folder)
    print(f"{graph.question} ({graph.method})")
    print_table(*edge_rows(graph))
    if graph.ranks_only:
        print(RANKS)
    if not graph.tested:
        print(UNTESTED)
    if graph.control:
        print(f"control: {graph.control['what']}: {graph.control['value']:.4f} "
              f"({graph.control['low']:.4f} to {graph.control['high']:.4f}); "
              f"{graph.control['verdict']}")  # fmt: skip
    for name, control in graph.controls.items():
        print(f"control ({name.replace('_', ' ')}): {control['sentence']}")
    for note in graph.notes:
        print(note)
    for name, path in made.items():
        print(f"{name}: {path}")
    if a.probe:
        _probe(a, run, folder)
    if groups_file is not None:
        _write_groups(graph, a.groups, groups_file)


def compare(a: Namespace) -> None:
    from gnnfusion.report.comparison import plot_comparison
    from gnnfusion.show import comparison_rows, methods, print_table
    from gnnfusion.training.compare.compare import RESULT, WEIGHTS
    from gnnfusion.training.compare.compare import compare as compare_methods
    from gnnfusion.training.compare.config import WeightSearch

    known = methods()
    names = {
        f"{kind}s": tuple(known[kind]) if a[kind] == "all" else tuple(a[kind].split(","))
        for kind in ("fusion", "sharing", "balancing")
    }
    base, out = TrainConfig.from_dict(a["base"].as_dict()), Path(a.out)
    if a.search not in ("none", "weights"):
        raise UsageError(f"unknown search {a.search!r}; use weights or none")
    weights = WeightSearch(**a["weights"].as_dict()) if a.search == "weights" else None
    print(f"every method: {a.trials} trials of at most {a.trial_seconds:g} s, {a.seeds} seeds",
          file=sys.stderr)  # fmt: skip
    if weights is not None:
        print(f"weights: at most {weights.candidates} vectors in {weights.folds} folds, each at "
              f"most {a.trial_seconds:g} s", file=sys.stderr)  # fmt: skip
    result = compare_methods(
        _store(a.store), out, **names, seeds=a.seeds, trials=a.trials, base=base, jobs=a.jobs,
        trial_seconds=a.trial_seconds, budget=a.budget, weights=weights, say=_progress(),
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
    if config.network.sharing == "single":
        raise UsageError("--sharing single has a group for every task; leave out --groups")
    return replace(config, network=replace(config.network, groups=read_groups(path)))


def _relate_outputs(a: Namespace, run: Path) -> tuple[Path, Path | None]:
    """Folder of the task graph, and the file of groups where they are asked for."""
    if a.groups is None:
        return Path(a.out) if a.out else run, None
    if a.groups < 1:
        raise UsageError(f"the number of groups must be at least 1, not {a.groups}")
    path = Path(a.out) if a.out else run / "groups.json"
    if path.suffix != ".json":
        raise UsageError(f"with --groups, -o names the file of groups, and {path} is no .json")
    return run, path


def _probe(a: Namespace, run: Run, folder: Path) -> None:
    """Add tasks whose kin are known, train once more, and say where the method puts them."""
    from gnnfusion.relatedness.probe_tasks import probe
    from gnnfusion.report.figures import plot_matrix

    report = probe(
        run, a.method, splits=_splits(a.splits), seed=a.seed, device=a.device,
        progress=sys.stderr.isatty(),
    )  # fmt: skip
    for task in report.tasks:
        verdict = "passed" if report.passed(task) else "failed"
        print(f"probe task ({task.kind}, {verdict}): {report.sentence(task)}")
    path, figures = folder / f"probe_{a.method}.json", folder / "figures"
    report.to_json(path)
    print(f"probe json: {path}")
    print(f"probe matrix: {plot_matrix(report.graph, figures / f'probe_{a.method}_matrix.png')}")


def _validate(a: Namespace, run: Run) -> None:
    """Hold every estimator to measured transfer."""
    from gnnfusion.relatedness.validation import FILE, validate
    from gnnfusion.report.validation import plot_validation
    from gnnfusion.show import print_table, validation_rows

    for flag in ("probe", "retrainings", "groups"):
        if a[flag]:
            raise UsageError(f"--validate is of all methods at once; leave out --{flag}")
    found = validate(
        run, subsets=a.subsets, seeds=a.seeds, jobs=a.jobs, seed=a.seed, device=a.device,
        progress=sys.stderr.isatty(), say=_progress(),
    )  # fmt: skip
    folder = Path(a.out) if a.out else run.path
    print_table(*validation_rows(found))
    for method, reason in found.left_out.items():
        print(f"left out: {method}: {reason}")
    reliability = found.truth.reliability()
    said = "unknown" if reliability != reliability else f"{reliability:.2f}"
    print(f"gains on {found.truth.held_out} rows after {found.truth.trainings} trainings; "
          f"reliability over seeds {said}")  # fmt: skip
    if found.same_rows:
        print("the estimators read the rows that gains were measured on, too")
    print(found.conclusion)
    if found.verdicts:
        figure = folder / "figures" / "relatedness_validation.png"
        print(f"validation figure: {plot_validation(found, figure)}")
    found.to_json(folder / FILE)
    print(f"validation json: {folder / FILE}")


def _write_groups(graph: TaskGraph, most: int, path: Path) -> None:
    from gnnfusion.relatedness.grouping import group_tasks

    found = group_tasks(graph, most)
    path.parent.mkdir(parents=True, exist_ok=True)
    found.to_json(path)
    for number, group in enumerate(found.groups, 1):
        print(f"group {number}: {', '.join(group)}")
    print(f"worth by these values: {found.value:.4f} a task; none together is 0")
    if not graph.interpretable:
        print("the control says that these values mean nothing, and so do groups by them")
    elif graph.method != "transfer":
        print("whether training together helps, only training tells: --method transfer")
    print(f"groups: {path}")


# -- shared -----------------------------------------------------------------------------------


def _splits(text: str) -> tuple[str, ...]:
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


def _progress() -> Callable[[str, int, int], None]:
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
