"""The commands. Each parses its flags, calls the public API and prints what it made."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import jsonargparse
from jsonargparse import Namespace

from gnnfusion import __version__
from gnnfusion.errors import GnnFusionError, UsageError
from gnnfusion.training.config import TrainConfig
from gnnfusion.whole import whole_file, write_json

DEVICES = ("auto", "cpu", "cuda")
# Flags that have a shorter name in `train`.
SHORT = {"--fusion": "--network.fusion", "--sharing": "--network.sharing"}


# -- parsers ----------------------------------------------------------------------------------


class ArgumentParser(jsonargparse.ArgumentParser):
    """A parser of whole flags: a shortened one might come to mean another as flags are added."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="gnnfusion",
        description="Graph-neural-network fusion of multimodal samples for several tasks.",
        version=__version__,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subcommands(required=True, dest="command")
    for name, (make, _) in COMMANDS.items():
        sub = ArgumentParser(description=make.__doc__)
        commands.add_subcommand(name, sub, help=(make.__doc__ or "").rstrip("."))
        make(sub)
    return parser


def _init(p: ArgumentParser) -> None:
    """Guess a schema from a table."""
    p.add_argument("table", type=str, help="CSV, Parquet or JSON lines file, or a folder of files")
    p.add_argument("--tasks", type=str, default="", help="label columns, comma-separated")
    p.add_argument("--id", type=str | None, default=None, help="column that names each row")
    p.add_argument("-o", "--out", type=str | None, default=None,
                   help="schema file to write; by default beside the table")  # fmt: skip


def _build(p: ArgumentParser) -> None:
    """Turn samples into packed graphs."""
    p.add_argument("source", type=str, help="schema file, or name of a data set")
    p.add_argument("-o", "--out", type=str, required=True, help="store to write")
    p.add_argument("--table", type=str | None, default=None, help="another table of this schema")
    p.add_argument("--workers", type=int | None, default=None, help="processes that read media")
    p.add_argument("--strict", action="store_true", help="fail if any value cannot be read")


def _train(p: ArgumentParser) -> None:
    """Train a fusion network; called again, it resumes."""
    p.add_argument("store", type=str, help="store, or name of a data set (built first, cached)")
    p.add_argument("-o", "--out", type=str, required=True, help="run folder to write")
    p.add_argument("--config", action="config", help="file of settings; flags override it")
    p.add_argument("--auto", action="store_true",
                   help="compare methods in OUT-compare, and train the preferred one")  # fmt: skip
    p.add_argument("--budget", type=float | None, default=None,
                   help="with --auto: seconds for the comparison")  # fmt: skip
    p.add_class_arguments(TrainConfig, as_group=False)


def _evaluate(p: ArgumentParser) -> None:
    """Score a run on its store."""
    p.add_argument("run", type=str, help="run folder")
    p.add_argument("--splits", type=str, default="valid,test", help="comma-separated")
    p.add_argument("--json", type=str | None, default=None, help="file to write the scores to")
    _device(p)


def _predict(p: ArgumentParser) -> None:
    """Predict the tasks of new raw rows."""
    p.add_argument("runs", nargs="+", type=str, metavar="run",
                   help="run folder; of several, predictions are averaged")  # fmt: skip
    p.add_argument("table", type=str, help="table of new rows")
    p.add_argument("-o", "--out", type=str, required=True, help="CSV or Parquet file to write")
    p.add_argument("--weights", type=str, default="equal",
                   help="of several runs: equal, or stack (fitted on validation rows)")  # fmt: skip
    p.add_argument("--given", type=str, default="none",
                   help="label columns to use as evidence: none, auto or names")  # fmt: skip
    p.add_argument("--workers", type=int | None, default=None, help="processes that read media")
    _device(p)


def _relate(p: ArgumentParser) -> None:
    """Say which tasks are related, with evidence."""
    p.add_argument("run", type=str, help="run folder")
    p.add_argument("--method", type=str, default="evidence", help="evidence, labels or attention")
    p.add_argument("--splits", type=str, default="valid,test", help="held-out rows to measure on")
    p.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    p.add_argument("-o", "--out", type=str | None, default=None,
                   help="folder to write; the run folder by default")  # fmt: skip
    _device(p)


def _compare(p: ArgumentParser) -> None:
    """Compare methods fairly on one store; called again, it resumes."""
    p.add_argument("store", type=str, help="store, or name of a data set (built first, cached)")
    p.add_argument("-o", "--out", type=str, required=True, help="folder to write")
    p.add_argument("--fusion", type=str, default="gatv2", help="names, comma-separated, or all")
    p.add_argument("--sharing", type=str, default="auto", help="names, comma-separated, or all")
    p.add_argument("--balancing", type=str, default="static", help="names, or all")
    p.add_argument("--seeds", type=int, default=5, help="final trainings of each method")
    p.add_argument("--trials", type=int, default=6, help="settings tried for each method")
    p.add_argument("--trial_seconds", type=float, default=60.0, help="longest training of a trial")
    p.add_argument("--jobs", type=int | None, default=None, help="processes; one a core by default")
    p.add_argument("--budget", type=float | None, default=None,
                   help="seconds after which no training is started")  # fmt: skip
    p.add_class_arguments(TrainConfig, "base")


def _data(p: ArgumentParser) -> None:
    """List the data sets, or get one."""
    actions = p.add_subcommands(required=True, dest="action")
    actions.add_subcommand("list", ArgumentParser(), help="names and what they hold")
    get = ArgumentParser(description="Fetch a data set's public source and check it.")
    get.add_argument("name", type=str, help="data set")
    get.add_argument("--url", type=str | None, default=None, help="another source")
    actions.add_subcommand("get", get, help="fetch a data set and check it")


def _info(p: ArgumentParser) -> None:
    """Say what is installed and available."""
    p.add_argument("--methods", action="store_true", help="list the methods instead")
    p.add_argument("--json", type=str | None, default=None, help="file to write")


def _demo(p: ArgumentParser) -> None:
    """Run the whole way once on generated clips."""
    p.add_argument("-o", "--out", type=str, default="runs/demo", help="folder to write")
    p.add_argument("--quick", action="store_true", help="fewer clips and epochs")
    p.add_argument("--seed", type=int, default=0)
    _device(p)


def _device(p: ArgumentParser) -> None:
    p.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda")


# -- commands ---------------------------------------------------------------------------------


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
    other = ("store", "out", "config", "auto", "budget")
    config = TrainConfig.from_dict({k: v for k, v in values.items() if k not in other})
    store = _store(a.store)
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
    from gnnfusion.report.task_graph_files import write_task_graph
    from gnnfusion.show import edge_rows, print_table
    from gnnfusion.training.run import Run

    run = Run.load(a.run)
    graph = relate_run(run, a.method, splits=_splits(a.splits), seed=a.seed, device=a.device)
    made = write_task_graph(graph, Path(a.out) if a.out else run.path)
    print(f"{graph.question} ({graph.method})")
    print_table(["from", "to", "value", "95 % interval", "p (Holm)", "n"], edge_rows(graph))
    if graph.control:
        print(f"control: {graph.control['what']}: {graph.control['value']:.4f} "
              f"({graph.control['low']:.4f} to {graph.control['high']:.4f}); "
              f"{graph.control['verdict']}")  # fmt: skip
    for name, path in made.items():
        print(f"{name}: {path}")


def compare(a: Namespace) -> None:
    from gnnfusion.report.comparison import plot_comparison
    from gnnfusion.show import comparison_rows, methods, print_table
    from gnnfusion.training.compare.compare import RESULT
    from gnnfusion.training.compare.compare import compare as compare_methods

    known = methods()
    names = {
        f"{kind}s": tuple(known[kind]) if a[kind] == "all" else tuple(a[kind].split(","))
        for kind in ("fusion", "sharing", "balancing")
    }
    base, out = TrainConfig.from_dict(a["base"].as_dict()), Path(a.out)
    print(f"every method: {a.trials} trials of at most {a.trial_seconds:g} s, {a.seeds} seeds",
          file=sys.stderr)  # fmt: skip
    result = compare_methods(
        _store(a.store), out, **names, seeds=a.seeds, trials=a.trials, base=base, jobs=a.jobs,
        trial_seconds=a.trial_seconds, budget=a.budget, say=_progress(),
    )  # fmt: skip
    head, rows = comparison_rows(result)
    print_table(head, rows)
    for name, reason in result["left_out"].items():
        print(f"left out: {name}: {reason}")
    print(result["verdict"])
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
            ["what", "name", "does", "reference"],
            [[kind, name, *entry.values()] for kind, table in listed.items()
             for name, entry in table.items()],
        )  # fmt: skip
        _write_json(a.json, listed)
        return
    found = environment()
    print_table(["what", "is"], [[k, str(v)] for k, v in found.items()])
    _write_json(a.json, found)


def demo(a: Namespace) -> None:
    from gnnfusion.demo import run_demo

    run_demo(Path(a.out), quick=a.quick, seed=a.seed, device=a.device)


COMMANDS: dict[str, Any] = {
    "init": (_init, init),
    "build": (_build, build),
    "train": (_train, train),
    "evaluate": (_evaluate, evaluate),
    "predict": (_predict, predict),
    "relate": (_relate, relate),
    "compare": (_compare, compare),
    "data": (_data, data),
    "info": (_info, info),
    "demo": (_demo, demo),
}


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


def _data_set_defaults(arguments: list[str]) -> dict[str, Any]:
    """Settings that validation chose for the data set named in ``train NAME``."""
    from gnnfusion import datasets

    if not arguments or arguments[0] != "train":
        return {}
    # What follows a flag is its value: `-o mosi` names a folder, not a data set.
    named = [
        word
        for before, word in pairwise(arguments)
        if word in datasets.names() and not (before.startswith("-") and "=" not in before)
    ]
    if not named or Path(named[0]).exists():
        return {}
    return datasets.defaults(named[0])


def _long(word: str) -> str:
    """A flag by its full name: ``--fusion=gat`` is ``--network.fusion=gat``."""
    name, equals, value = word.partition("=")
    return SHORT.get(name, name) + equals + value


def _config_first(arguments: list[str]) -> list[str]:
    """The same with ``--config FILE`` right after the command, so that all else overrides it."""
    head, rest = list[str](), list[str]()
    words = iter(arguments[1:])
    for word in words:
        if word == "--config":
            head += [word, *islice(words, 1)]
        else:
            (head if word.startswith("--config=") else rest).append(word)
    return arguments[:1] + head + rest


def _parse(arguments: list[str]) -> Namespace:
    parser = _parser()
    plain = [word for word in arguments if word != "--debug"]
    if plain[:1] == ["train"]:
        plain = [_long(word) for word in plain]
    defaults = _data_set_defaults(plain)
    if defaults:
        config = TrainConfig.from_dict(defaults).to_dict()
        parser._subcommands_action._name_parser_map["train"].set_defaults(_flat(config))  # type: ignore[union-attr]
    debug = ["--debug"] if "--debug" in arguments else []
    return parser.parse_args(debug + _config_first(plain))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 on success, 1 on a failure, 2 on bad usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        parsed = _parse(arguments)
        COMMANDS[parsed.command][1](parsed[parsed.command])
    except GnnFusionError as error:
        if debug:
            raise
        print(f"gnnfusion: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("gnnfusion: stopped; call the same command again to resume", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        print(
            f"gnnfusion: unexpected {type(error).__name__}: {text}; --debug shows where",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
