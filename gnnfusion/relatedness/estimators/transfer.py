"""Training with i helps j: measured by training every task alone and every group, over seeds.

Trainings of one seed differ by labels alone: the network is that of all tasks, with the same first
weights, order of rows and dropout, and the same number of epochs at most; the labels of tasks
outside a group are hidden, in training and validation. Known labels are never shown (evidence 0),
as a task alone has none to show. Each training stops by the mean validation loss of the tasks it is
on, or, where there are no validation rows, after all epochs. Test rows choose nothing.

Cost: S (T + T (T - 1) / 2) trainings for all pairs of T tasks and S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np

from gnnfusion.errors import DataError, UsageError
from gnnfusion.features.workers import default_workers
from gnnfusion.graphs.digest import digest
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import network_for
from gnnfusion.relatedness.transfer import Transfer
from gnnfusion.relatedness.transfer_training import Training, run_in_process, start_process
from gnnfusion.schema import check_task_names
from gnnfusion.training.compare.data import on_disk
from gnnfusion.training.compare.pool import Say, run_each
from gnnfusion.training.compare.trial import load_trial
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.evidence import kin_matrix
from gnnfusion.training.run import Run

FILE = "transfer.json"
Group = tuple[str, ...]


def measure_transfer(
    store: GraphStore | str | Path,
    config: TrainConfig,
    out: str | Path,
    *,
    groups: Sequence[Sequence[str]] | None = None,
    seeds: int = 5,
    first_seed: int = 0,
    jobs: int = 1,
    targets: Mapping[str, np.ndarray] | None = None,
    say: Say | None = None,
) -> Transfer:
    """Train every task alone and every group, and compare held-out losses.

    Called again with the same folder, it takes up what is finished.

    Parameters
    ----------
    store
        A store or its folder.
    config
        Settings of every training; `seed` and `evidence` are set here, and so is `refit` where
        there are no validation rows.
    out
        Folder of results, one small file a training.
    groups
        Groups of tasks; by default all pairs. See also `sample_groups`.
    seeds, first_seed
        Trainings of each, and the seed of the first.
    jobs
        Processes at once, each with one thread.
    targets
        Task -> what its test loss is taken against instead of its labels, a value for every row of
        the store: the noiseless target of planted data. Training and validation keep the labels.
        A task of pure noise has the target 0, and gains that mean little.
    say
        Called with a line of progress, the finished and all trainings: first with their number,
        then, once a training has been timed, with how long the rest will take.

    Raises
    ------
    UsageError
        Groups or counts that cannot be, fewer than two tasks, or tasks that share nothing.
    DataError
        A task has no label to train on, to stop by, or to be held to.
    """
    out = Path(out)
    store = store if isinstance(store, GraphStore) else GraphStore.open(store)
    config = _settled(store, config)
    chosen = _groups(store, groups)
    if min(seeds, jobs) < 1:
        raise UsageError("seeds and jobs must be at least 1")
    targets = targets or {}
    _check(store, config, targets)
    data = digest(store, targets)
    alone: list[Group] = [(t,) for t in store.schema.task_names]
    plan = {
        (seed, tasks): Training(tasks, replace(config, seed=first_seed + seed), data)
        for seed in range(seeds)
        for tasks in [*alone, *chosen]
    }
    say = say or (lambda line, done, total: None)
    found = _train_all(list(plan.values()), store, out, jobs, targets, say)
    losses = {place: found[training.key] for place, training in plan.items()}
    splits = ("test",) if config.refit else ("valid", "test")

    def table(split: str, asked: Sequence[Group]) -> np.ndarray:
        """``[S, groups, T]``."""
        return np.array([
            [[losses[seed, tasks].get(split, {}).get(t) for t in store.schema.task_names]
             for tasks in asked] for seed in range(seeds)
        ], dtype=float).reshape(seeds, len(asked), len(alone))  # fmt: skip

    return Transfer(
        tasks=store.schema.task_names,
        groups=tuple(chosen),
        seeds=tuple(range(first_seed, first_seed + seeds)),
        alone={s: np.diagonal(table(s, alone), axis1=1, axis2=2).copy() for s in splits},
        together={s: table(s, chosen) for s in splits},
        derived=kin_matrix(store.schema).numpy() & ~np.eye(len(alone), dtype=bool),
        seconds=sum(r["seconds"] for r in found.values()),
        failed=tuple(r["failed"] for r in losses.values() if "failed" in r),
    )


def transfer_of(
    run: Run | str | Path,
    *,
    subsets: int = 0,
    groups: Sequence[Sequence[str]] | None = None,
    seeds: int = 5,
    jobs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    say: Say | None = None,
) -> Transfer:
    """Transfer gains under a run's settings, kept in its folder (``transfer/``, ``transfer.json``).

    Parameters
    ----------
    run
        A trained run or its folder.
    subsets
        So many groups at random instead of all pairs: fewer trainings where there are many tasks.
    groups
        These groups instead.
    seeds, jobs, say
        As in `measure_transfer`; jobs are one for every core by default.
    seed
        Of the random groups.
    device
        auto, cpu or cuda.

    Raises
    ------
    UsageError, DataError
        As in `measure_transfer`.
    """
    run = run if isinstance(run, Run) else Run.load(run)
    store, config = run.store(), replace(run.config, device=device)
    if subsets < 0:
        raise UsageError(f"the number of subsets must not be negative, not {subsets}")
    if groups is None and subsets:
        groups = sample_groups(store.schema.task_names, subsets, seed=seed)
    jobs = default_workers() if jobs is None else jobs
    transfer = measure_transfer(
        store, config, run.path / "transfer", groups=groups, seeds=seeds, jobs=jobs, say=say
    )
    transfer.to_json(run.path / FILE)
    return transfer


def sample_groups(
    tasks: Sequence[str], count: int, *, least: int = 2, most: int | None = None, seed: int = 0
) -> list[Group]:
    """Different groups at random, their size drawn evenly from `least` to `most` (all tasks).

    Raises
    ------
    UsageError
        There are not so many groups.
    """
    sizes = range(least, (most or len(tasks)) + 1)
    there = count_groups(len(tasks), least, most)
    if count > there:
        raise UsageError(f"{len(tasks)} tasks have {there} groups of these sizes, not {count}")
    rng, found = np.random.default_rng(seed), dict[Group, None]()
    while len(found) < count:
        size = int(rng.choice(sizes))
        places = sorted(rng.choice(len(tasks), size, replace=False).tolist())
        found[tuple(tasks[p] for p in places)] = None
    return list(found)


def count_groups(tasks: int, least: int = 2, most: int | None = None) -> int:
    """How many groups of `least` to `most` (all) of so many tasks there are."""
    return sum(comb(tasks, size) for size in range(least, (most or tasks) + 1))


# -- all trainings ----------------------------------------------------------------------------


def _train_all(
    trainings: list[Training],
    store: GraphStore,
    folder: Path,
    jobs: int,
    targets: Mapping[str, np.ndarray],
    say: Say,
) -> dict[str, dict[str, Any]]:
    """Results by key; the first training of all tells how long the others will take."""
    folder.mkdir(parents=True, exist_ok=True)
    start = (start_process, str(on_disk(store, folder)), dict(targets))
    train = partial(run_each, folder=folder, work=run_in_process, describe=_line, start=start)
    total = len(trainings)
    known = [r for t in trainings if (r := load_trial(t, folder)) is not None]
    say(f"{total} trainings, {total - len(known)} to do", len(known), total)
    if not known:
        first = train(trainings[:1], jobs=1, say=lambda line, done, _: say(line, done, total))
        known = list(first.values())
    left = total - len(known)
    if left:
        minutes = sum(r["seconds"] for r in known) / len(known) * left / jobs / 60
        say(f"{left} trainings will take about {minutes:.1f} min", len(known), total)
    return train(trainings, jobs=jobs, say=say)


def _line(training: Training, result: dict[str, Any]) -> str:
    said = result.get("failed") or f"{result['epochs']} epochs in {result['seconds']:.0f} s"
    return f"{' + '.join(training.tasks)} (seed {training.config.seed}): {said}"


# -- what can be measured ---------------------------------------------------------------------


def _settled(store: GraphStore, config: TrainConfig) -> TrainConfig:
    """The settings of every training; `UsageError` where tasks share nothing."""
    if config.network.sharing == "single":
        raise UsageError(
            "with the sharing 'single' tasks share nothing, so no training can help another; "
            "take a run with another sharing"
        )
    # Which tasks to put in groups is asked of a network that all of them share.
    network = replace(config.network, groups=())
    network_for(store, network)  # what fits no network fails before anything is trained
    return replace(
        config, network=network, evidence=0.0, head_epochs=0, max_seconds=0.0, log_interference=0,
        refit=config.refit or len(store.rows("valid")) == 0,
    )  # fmt: skip


def _groups(store: GraphStore, groups: Sequence[Sequence[str]] | None) -> list[Group]:
    names = store.schema.task_names
    if len(names) < 2:
        raise UsageError("a task graph needs at least two tasks")
    if groups is None:
        return list(combinations(names, 2))
    found: dict[Group, None] = {}
    for group in groups:
        check_task_names(group, names, "a group")
        ordered = tuple(t for t in names if t in group)
        if len(ordered) < 2:
            raise UsageError(f"a group needs two tasks at least, not {list(group)}")
        found[ordered] = None
    if not found:
        raise UsageError("there is no group to train; name some, or leave them out for all pairs")
    return list(found)


def _check(store: GraphStore, config: TrainConfig, targets: Mapping[str, np.ndarray]) -> None:
    """Labels to train on, to stop by and to measure on, before anything is trained."""
    needed = [("train", "valid")] if config.refit else [("train",), ("valid",)]
    for splits in needed:
        known = store.masks[store.rows(*splits)].any(0)
        for task, there in zip(store.schema.task_names, known.tolist(), strict=True):
            if not there:
                raise DataError(
                    f"task {task!r} has no label in {' or '.join(splits)}, so it cannot be trained "
                    "alone; build a store without it"
                )
    if config.refit and not (targets or store.masks[store.rows("test")].any()):
        raise DataError("no row is held out to measure gains on; give valid or test rows labels")
    for task, values in targets.items():
        if task not in store.schema.task_names:
            raise UsageError(f"targets name {task!r}, which is no task")
        if np.size(values) != store.target(task).numel():
            raise UsageError(f"the targets of {task!r} must be as many as its labels")
