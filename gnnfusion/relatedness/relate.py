"""From a trained run to its task graph: one function over all estimators."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gnnfusion.errors import UsageError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.methods import find_method, load_method
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.combined import SINGLE_TRAINING, combine, estimable
from gnnfusion.relatedness.controls import probes_of_weights, run_controls, seed_agreement
from gnnfusion.relatedness.estimators import ESTIMATORS, METHODS, SHOWING
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.relatedness.transfer import Transfer
from gnnfusion.schema import SPLITS
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.probes import FILE, Probes, probe_interval
from gnnfusion.training.run import Run

if TYPE_CHECKING:
    from gnnfusion.training.compare.pool import Say

HELD_OUT = ("valid", "test")
CALIBRATED = 5  # trainings from which the interval over retraining is known to keep its word


def relate(
    run: Run | str | Path,
    method: str = "evidence",
    *,
    splits: tuple[str, ...] | None = None,
    retrainings: int = 0,
    controls: bool = True,
    seeds: int = 5,
    jobs: int | None = None,
    subsets: int = 0,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    say: Say | None = None,
) -> TaskGraph:
    """Which tasks are related, by one method, with intervals and a null.

    Parameters
    ----------
    run
        A trained run or its folder.
    method
        A name in `gnnfusion.relatedness.estimators.METHODS`, which says what each measures and
        which question it answers. ``evidence``: how much knowing label i lowers the loss of task j
        beyond the features. ``transfer`` is measured by many trainings instead: see
        `gnnfusion.relatedness.estimators.transfer.transfer_of`, which returns more than the graph.
    splits
        Rows to measure on; by default those that the network has not learned from (valid and test,
        or test alone where it was refitted on valid), and for ``labels`` and ``coregionalization``,
        which use nothing that it expects of a label, all. Not for methods that measure in training.
    retrainings
        Train the run again with so many other seeds (kept in ``retrained/`` of the run folder),
        for the interval over retraining, from 4 with the coverage that it names; 0 leaves it out.
        Not for ``labels`` and ``transfer``.
    controls
        Hold the graph to `gnnfusion.relatedness.controls`, which takes a few times as long as the
        method itself.
    seeds, jobs, subsets, say
        Of ``transfer`` alone: trainings of each task and pair, processes at once, random groups
        instead of pairs, and what is called with lines of progress.
    seed
        Of the bootstrap, the permutations and the random groups.
    device
        auto, cpu or cuda.
    progress
        Show a progress bar where something is trained.

    Raises
    ------
    UsageError
        The method is unknown or does not fit the run's fusion or the splits, or there are fewer
        than two tasks or no rows.
    """
    needs = find_method(METHODS, "method", method).needs
    if retrainings < 0:
        raise UsageError(f"the number of retrainings must not be negative, not {retrainings}")
    if retrainings and needs in ("labels", "trainings"):
        why = "uses no network" if needs == "labels" else "trains with several seeds already"
        raise UsageError(f"the method {method!r} {why}; leave out the retrainings")
    if splits is not None and needs in ("training", "trainings"):
        raise UsageError(f"the method {method!r} measures in training; leave out the splits")
    if method == "transfer":
        from gnnfusion.relatedness.estimators.transfer import transfer_of  # it imports Lightning

        measured = transfer_of(
            run, subsets=subsets, seeds=seeds, jobs=jobs, seed=seed, device=device, say=say
        )
        return graph_of_transfer(measured) if controls else measured.graph()
    run = run if isinstance(run, Run) else Run.load(run)
    store = run.store()
    if len(store.schema.tasks) < 2:
        raise UsageError("a task graph needs at least two tasks")
    rows = measured_rows(store, method, splits, run.config.refit)
    graph = estimate_run(run, store, method, rows, seed, device, progress)
    if retrainings:
        runs = retrained(run, store, retrainings, device, progress)
        values = [estimate_run(r, store, method, rows, seed, device, progress).value for r in runs]
        trainings, notes = 1 + len(runs), graph.notes
        if trainings < CALIBRATED:
            few = f"the interval over retraining is of {trainings} trainings"
            notes += (f"{few}; it keeps its word from {CALIBRATED} on",)
        graph = replace(graph, retrained=np.stack([graph.value, *values]), notes=notes)
    return _controlled(graph, run, store, rows, seed, device) if controls else graph


def graph_of_transfer(measured: Transfer) -> TaskGraph:
    """The task graph of measured gains with its control."""
    graph = measured.graph()
    assert graph.retrained is not None
    return replace(graph, controls=seed_agreement(graph.retrained))


def measured_rows(
    store: GraphStore, method: str, splits: tuple[str, ...] | None, refit: bool
) -> Tensor:
    """Rows that a method reads of a run, refitted on its validation rows or not; see `relate`.

    Raises
    ------
    UsageError
        There are none, and the method reads some.
    """
    entry = METHODS[method]
    if splits is None:
        splits = SPLITS if entry.reads_training_rows else ("test",) if refit else HELD_OUT
    if not splits:  # of which `rows` would make all, the training rows among them
        raise UsageError("no split is named to measure on; name valid, test or both")
    rows = store.rows(*splits)
    if len(rows) == 0 and entry.needs != "training":
        raise UsageError(f"there are no samples in {' and '.join(splits)}; name other --splits")
    return rows


def rows_for(method: str, store: GraphStore, held_out: Tensor) -> Tensor:
    """Rows that a method reads where others read those held out: see `reads_training_rows`."""
    if not METHODS[method].reads_training_rows:
        return held_out
    return torch.cat([store.rows("train", "valid"), held_out]).unique()


def estimate(
    method: str,
    network: FusionNetwork | None,
    store: GraphStore,
    rows: Tensor,
    seed: int,
    probes: Probes | None = None,
) -> TaskGraph:
    """A task graph by one method from what it needs; see `ESTIMATORS`."""
    entry = find_method(ESTIMATORS, "method", method)
    module = load_method(entry)
    of_module = entry.module.endswith("." + method)
    function: Any = module.estimate if of_module else getattr(module, f"estimate_{method}")
    given = (probes, store.schema, seed) if entry.needs == "training" else (
        network, store, rows, seed)  # fmt: skip
    graph: TaskGraph = function(*given)
    return graph


def estimate_run(
    run: Run, store: GraphStore, method: str, rows: Tensor, seed: int, device: str, progress: bool
) -> TaskGraph:
    """A task graph by one method of a run, on these rows of a store with the run's tasks.

    Raises
    ------
    UsageError
        The method shows labels, and the run was trained without.
    """
    if method in SHOWING:
        run.check_reads_labels()
    if method == "combined":
        return _combined(run.network(device), store, rows, seed)
    if ESTIMATORS[method].needs == "training":
        return estimate(method, None, store, rows, seed, probes_of(run, store, device, progress))
    return estimate(method, run.network(device), store, rows, seed)


def _controlled(
    graph: TaskGraph, run: Run, store: GraphStore, rows: Tensor, seed: int, device: str
) -> TaskGraph:
    """The graph with its controls."""
    method, needs = graph.method, METHODS[graph.method].needs

    def again(network: FusionNetwork | None, store: GraphStore) -> TaskGraph:
        if method == "combined" and network is not None:
            return _combined(network, store, rows, seed)
        probes = None
        if needs == "training" and network is not None:
            probes = probes_of_weights(network, store, run.config.batch_size, seed)
        return estimate(method, network, store, rows, seed, probes)

    network, passed = None if needs == "labels" else run.network(device), rows
    if needs == "encoders":  # what cuts cost is read off rows that the network has not learned
        learned = store.rows("train", "valid") if run.config.refit else store.rows("train")
        held_out = rows[~torch.isin(rows, learned)]
        passed = held_out if len(held_out) else rows
    return replace(graph, controls=run_controls(graph, network, store, passed, seed, again))


def _combined(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """The combination of all that fit the network and need no further training, on held-out rows;
    those that `reads_training_rows` read these, too, whatever the splits."""
    graphs = {}
    for method in SINGLE_TRAINING:
        with suppress(UsageError):
            known = rows_for(method, store, rows)
            graphs[method] = estimate(method, network, store, known, seed)
    return combine(estimable(graphs))


def probes_of(run: Run, store: GraphStore, device: str, progress: bool = False) -> Probes:
    """What was measured during the run's training.

    A run that was trained without `log_interference` is trained once more, from the same seed and
    with the same result, and measured on the way; that is kept in the run folder.
    """
    from gnnfusion.training.fit import fit  # not at the top: it imports Lightning

    path = run.path / FILE
    if not path.is_file():
        every = probe_interval(len(store.schema.tasks))
        config: TrainConfig = replace(run.config, log_interference=every, device=device)
        _, keeper = fit(store, config, None, progress=progress)
        Probes.of(keeper.probes).save(path)
    return Probes.load(path)


def retrained(
    run: Run, store: GraphStore, count: int, device: str, progress: bool = False
) -> list[Run]:
    """The run's training with `count` other seeds; done once and kept, so it resumes."""
    from gnnfusion.training.fit import train

    seeds = [run.config.seed + n + 1 for n in range(count)]
    return [
        train(
            store, run.path / "retrained" / f"seed{seed}",
            replace(run.config, seed=seed, device=device), progress=progress, logs=False,
        ) for seed in seeds
    ]  # fmt: skip
