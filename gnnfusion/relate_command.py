"""`gnnfusion relate`: a task graph, its controls, and what the graph is held to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from gnnfusion.commands import progress, read_splits
from gnnfusion.errors import UsageError

if TYPE_CHECKING:
    from gnnfusion.relatedness.grouping import Grouping
    from gnnfusion.relatedness.task_graph import TaskGraph
    from gnnfusion.training.run import Run


def relate(a: Namespace) -> None:
    from gnnfusion.relatedness.measured import group_by_measured
    from gnnfusion.relatedness.relate import graph_of_transfer
    from gnnfusion.relatedness.relate import relate as relate_run
    from gnnfusion.report.captions import NOTHING, RANKS, UNTESTED
    from gnnfusion.report.task_graph_files import write_task_graph
    from gnnfusion.show import edge_rows, print_table
    from gnnfusion.training.run import Run

    run = Run.load(a.run)
    _refuse_ignored(a)
    if a.validate:
        _validate(a, run)
        return
    a.method = a.method or "evidence"
    folder, groups_file = _relate_outputs(a, run.path)
    common = {"seed": a.seed, "device": a.device, "progress": sys.stderr.isatty(),
              "say": progress(), **_measured(a)}  # fmt: skip
    grouping = None
    if a.subsets and groups_file is not None:  # these groups are chosen as they are measured
        grouping, measured = group_by_measured(run, a.groups, **common)
        graph = graph_of_transfer(measured)
    else:
        graph = relate_run(
            run, a.method, splits=_splits(a), retrainings=a.retrainings, **common
        )  # fmt: skip
    made = write_task_graph(graph, folder)
    print(f"{graph.question} ({graph.method})")
    print_table(*edge_rows(graph))
    if graph.ranks_only:
        print(RANKS)
    if not graph.edges(significant_only=False):
        print(NOTHING)
    elif not graph.tested:
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
        _write_groups(a, graph, grouping, groups_file)


def _refuse_ignored(a: Namespace) -> None:
    """`UsageError` where an option would be ignored."""
    if a.validate:
        for flag in ("method", "splits", "probe", "retrainings", "groups"):
            if a[flag]:
                raise UsageError(f"--validate is of all methods at once; leave out --{flag}")
    elif a.method == "transfer":
        if a.probe:
            raise UsageError(
                "--probe is for methods that read one training; leave it out of transfer"
            )
    else:
        for flag in ("subsets", "seeds", "jobs"):
            if a[flag] is not None:
                raise UsageError(f"--{flag} is of --method transfer or --validate; leave it out")


def _measured(a: Namespace) -> dict[str, Any]:
    """How much is measured by training, where that is asked for."""
    seeds = 5 if a.seeds is None else a.seeds
    return {"subsets": a.subsets or 0, "seeds": seeds, "jobs": a.jobs}


def _splits(a: Namespace) -> tuple[str, ...] | None:
    return None if a.splits is None else read_splits(a.splits)


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
        run, a.method, splits=_splits(a), seed=a.seed, device=a.device,
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

    found = validate(
        run, seed=a.seed, device=a.device, progress=sys.stderr.isatty(), say=progress(),
        **_measured(a),
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


def expected(grouping: Grouping) -> str:
    """What a fitted split is expected to gain, and what that is worth."""
    way = "lower" if grouping.value >= 0 else "higher"
    said = (
        f"losses {way} by {abs(grouping.value):.1%} (standard error {grouping.error:.1%}) than in "
        "networks of single tasks, mean over tasks"
    )
    alone = all(len(group) == 1 for group in grouping.groups)
    if alone or grouping.value >= 2 * grouping.error:
        return said
    return f"{said}: too little to rely on, so compare both on validation rows"


def _write_groups(a: Namespace, graph: TaskGraph, fitted: Grouping | None, path: Path) -> None:
    """Write the split by the fit to measured gains, or by the graph where there is none."""
    from gnnfusion.relatedness.grouping import group_tasks

    found = fitted or group_tasks(graph, a.groups)
    path.parent.mkdir(parents=True, exist_ok=True)
    found.to_json(path)
    for number, group in enumerate(found.groups, 1):
        print(f"group {number}: {', '.join(group)}")
    if fitted:
        print(f"expected from {a.subsets} measured groups and one training: {expected(found)}")
    else:
        print(f"worth by these values: {found.value:.4f} a task; none together is 0")
    if not fitted and graph.tested and not graph.edges():
        print("no pair is a finding, so these groups may be of chance alone")
    if not graph.interpretable:
        print("the control says that these values mean nothing, and so do groups by them")
    elif graph.method != "transfer":
        print("whether training together helps, only training tells: --method transfer")
    print(f"groups: {path}")
