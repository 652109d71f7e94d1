"""The command line: flags of every command, and how they are read."""

from __future__ import annotations

import sys
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import jsonargparse
from jsonargparse import Namespace

from gnnfusion import __version__, commands, relate_command
from gnnfusion.errors import GnnFusionError, UsageError
from gnnfusion.relatedness.estimators import METHODS
from gnnfusion.training.compare.config import BASELINES, WeightSearch
from gnnfusion.training.config import TrainConfig

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
    p.add_argument("--groups", type=str | None, default=None,
                   help="file of task groups, each to have a network of its own")  # fmt: skip
    p.add_argument("--task_weights", type=str | None, default=None,
                   help="file of weights of the tasks' losses")  # fmt: skip
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
    names = ", ".join(METHODS)
    p.add_argument("--method", type=str | None, default=None,
                   help=f"one of {names}; by default evidence; `gnnfusion info --methods` says "
                        "more")  # fmt: skip
    p.add_argument(
        "--splits",
        type=str | None,
        default=None,
        help="rows to measure on; by default valid,test, and for labels and coregionalization all",
    )
    p.add_argument("--seed", type=int, default=0,
                   help="of the bootstrap, the permutations and the random groups")  # fmt: skip
    p.add_argument("--retrainings", type=int, default=0,
                   help="train so many times more, for intervals over retraining")  # fmt: skip
    p.add_argument("--probe", action="store_true",
                   help="train once more with duplicate, negated and noise tasks added, and say "
                        "where the method puts them")  # fmt: skip
    p.add_argument("--validate", action="store_true",
                   help="hold every method to gains measured as by --method transfer")  # fmt: skip
    p.add_argument("--seeds", type=int | None, default=None,
                   help="of transfer and --validate: trainings of each task and pair; 5 by "
                        "default")  # fmt: skip
    p.add_argument("--jobs", type=int | None, default=None,
                   help="of transfer and --validate: processes; one a core by default")  # fmt: skip
    p.add_argument("--subsets", type=int | None, default=None,
                   help="of transfer and --validate: random groups instead of pairs")  # fmt: skip
    p.add_argument("--groups", type=int | None, default=None,
                   help="split the tasks into at most so many groups")  # fmt: skip
    p.add_argument("-o", "--out", type=str | None, default=None,
                   help="folder to write, or file of --groups; in the run by default")  # fmt: skip
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
    p.add_argument("--baselines", type=str, default=",".join(BASELINES),
                   help="simple readers beside the methods: names, or none")  # fmt: skip
    p.add_argument("--search", type=str, default="none",
                   help="weights: cross-validate weights of the tasks' losses, too")  # fmt: skip
    p.add_class_arguments(WeightSearch, "weights")
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


COMPARED = {
    "--base.network.fusion": "name fusions by --fusion",
    "--base.network.sharing": "name sharings by --sharing",
    "--base.balancing": "name balancings by --balancing",
    "--base.evidence": "a row of its own trains with known labels, the others without",
    "--base.refit": "all methods stop early on validation rows",
    "--base.seed": "--seeds says how many seeds each method gets",
}
"""Settings of a training that a comparison does not take, and what to do instead."""

COMMANDS: dict[str, Any] = {
    "init": (_init, commands.init),
    "build": (_build, commands.build),
    "train": (_train, commands.train),
    "evaluate": (_evaluate, commands.evaluate),
    "predict": (_predict, commands.predict),
    "relate": (_relate, relate_command.relate),
    "compare": (_compare, commands.compare),
    "data": (_data, commands.data),
    "info": (_info, commands.info),
    "demo": (_demo, commands.demo),
}


# -- parsing ----------------------------------------------------------------------------------


def _data_set_defaults(arguments: list[str]) -> dict[str, Any]:
    """Settings that validation chose for the data set that ``train`` or ``compare`` names."""
    from gnnfusion import datasets

    if not arguments or arguments[0] not in ("train", "compare"):
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


def _refuse_unused(arguments: list[str]) -> None:
    """A setting that the command would not use is refused, not passed over."""
    given = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    command = arguments[:1]
    if command == ["compare"]:
        for flag in sorted(given & set(COMPARED)):
            raise UsageError(f"{flag} is not what all methods share; {COMPARED[flag]}")
        if "--search" not in given and any(flag.startswith("--weights.") for flag in given):
            raise UsageError("--weights.… belong to a search of weights: add --search weights")
    elif command == ["train"]:
        if "--auto" in given and "--evidence" in given:
            raise UsageError("--auto trains with known labels and without; leave out --evidence")
        if "--budget" in given and "--auto" not in given:
            raise UsageError("--budget is for --auto; --max_seconds ends a training")


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
    _refuse_unused(plain)
    defaults = _data_set_defaults(plain)
    if defaults:
        config = TrainConfig.from_dict(defaults).to_dict()
        prefix = "" if plain[0] == "train" else "base."
        command = parser._subcommands_action._name_parser_map[plain[0]]  # type: ignore[union-attr]
        command.set_defaults(_flat(config, prefix))
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
