"""Tasks whose kin are known, added for a check: does a method of relatedness find them?

To the run's tasks are added, for up to two of them, a duplicate (a regression with fresh noise of
`NOISE` of its spread, a class label of which `FLIPPED` are others) and, of a regression, a negation
(with twice the noise, so that it comes after the duplicate), and one task of pure noise. The run is
trained once more on all of them. A duplicate should rank first among the sources of its original,
and the noise should be in no pair that is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gnnfusion.errors import UsageError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.store_file import Overlay
from gnnfusion.methods import find_method
from gnnfusion.relatedness.estimators import METHODS, SHOWING
from gnnfusion.relatedness.relate import estimate, estimate_run, measured_rows
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.schema import Task
from gnnfusion.training.evidence import kin_matrix
from gnnfusion.training.probes import probe_interval
from gnnfusion.training.run import Run
from gnnfusion.whole import finite, write_json

MOST = 2  # tasks that are copied
NOISE = 0.3
FLIPPED = 0.1
EXPECTED = {"duplicate": 1, "negation": 2}


@dataclass(frozen=True)
class ProbeTask:
    """An added task.

    Parameters
    ----------
    name
        Of the task.
    kind
        ``duplicate``, ``negation`` or ``noise``.
    of
        Its original; empty for noise.
    """

    name: str
    kind: str
    of: str = ""


@dataclass(frozen=True)
class ProbeReport:
    """Where a method puts the added tasks.

    Parameters
    ----------
    graph
        Of the run's tasks and the added ones.
    tasks
        The added ones.
    """

    graph: TaskGraph
    tasks: tuple[ProbeTask, ...]

    def place(self, task: ProbeTask) -> float:
        """Its place among the sources of its original, 1 the first; NaN if not estimable.

        Of noise, the mean place over all targets.
        """
        at, ranks = self.graph.tasks.index(task.name), self.graph.ranks
        if task.of:
            return float(ranks[at, self.graph.tasks.index(task.of)])
        known = ranks[at][np.isfinite(ranks[at])]
        return float(known.mean()) if len(known) else float("nan")

    def kept(self, task: ProbeTask) -> tuple[tuple[str, str], ...]:
        """Kept pairs with the task, source first."""
        return tuple(
            (e.source, e.target) for e in self.graph.edges() if task.name in (e.source, e.target)
        )

    def passed(self, task: ProbeTask) -> bool:
        """Whether it is where it should be; of noise without a test, in the latter half."""
        if task.kind != "noise":
            return self.place(task) <= EXPECTED[task.kind]
        if self.graph.tested:
            return not self.kept(task)
        return self.place(task) > len(self.graph.tasks) / 2

    def sentence(self, task: ProbeTask) -> str:
        """What came out, and what should have."""
        place, others = self.place(task), len(self.graph.tasks) - 1
        if task.kind == "noise" and self.graph.tested:
            pairs = "; ".join(f"from {a} to {b}" for a, b in self.kept(task)) or "none"
            return f"kept pairs with {task.name}: {pairs}; expected: none"
        if not np.isfinite(place):
            return f"{task.name} has no place: its pairs cannot be estimated"
        if task.kind == "noise":
            return (f"{task.name} has place {place:.1f} of {others} as a source, on average; "
                    f"expected: above {(others + 1) / 2:g}")  # fmt: skip
        sources = int(np.isfinite(self.graph.ranks[:, self.graph.tasks.index(task.of)]).sum())
        expected = " or ".join(map(str, range(1, EXPECTED[task.kind] + 1)))
        return (f"{task.name} has place {place:g} among the {sources} sources of {task.of}; "
                f"expected: {expected}")  # fmt: skip

    def to_json(self, path: str | Path) -> None:
        """Write the places and the graph."""
        tasks = [
            {"name": t.name, "kind": t.kind, "of": t.of, "place": finite(self.place(t)),
             "kept": [list(p) for p in self.kept(t)], "passed": self.passed(t),
             "sentence": self.sentence(t)} for t in self.tasks
        ]  # fmt: skip
        write_json(path, {"tasks": tasks, "graph": self.graph.to_dict()})


def probe(
    run: Run | str | Path,
    method: str = "evidence",
    *,
    splits: tuple[str, ...] | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
) -> ProbeReport:
    """Train a run once more with added tasks, and see where a method puts them.

    The training is kept in ``probe/`` of the run folder (``probe_training/`` for methods that
    measure on the way), in a folder for each seed of the added tasks, and without groups of tasks:
    an added one would be in none.

    Parameters
    ----------
    run
        A trained run or its folder.
    method, splits, seed, device, progress
        As in `gnnfusion.relatedness.relate.relate`; not ``transfer``.

    Raises
    ------
    UsageError
        As there.
    """
    needs = find_method(METHODS, "method", method).needs
    if needs == "trainings":
        raise UsageError(f"probe tasks are for methods that read one training, not for {method!r}")
    run = run if isinstance(run, Run) else Run.load(run)
    if method in SHOWING:
        run.check_reads_labels()  # before the training, not after it
    store, tasks = with_probe_tasks(run.store(), seed)
    rows = measured_rows(store, method, splits, run.config.refit)
    if needs == "labels":
        return ProbeReport(estimate(method, None, store, rows, seed), tasks)
    probed = _trained(run, store, needs == "training", seed, device, progress)
    return ProbeReport(estimate_run(probed, store, method, rows, seed, device, progress), tasks)


def _trained(
    run: Run, store: GraphStore, measured: bool, seed: int, device: str, progress: bool
) -> Run:
    from gnnfusion.training.fit import train  # not at the top: it imports Lightning

    config = replace(run.config, device=device, network=replace(run.config.network, groups=()))
    if measured:
        config = replace(config, log_interference=probe_interval(len(store.schema.tasks)))
    folder = run.path / ("probe_training" if measured else "probe")
    return train(store, folder / f"seed{seed}", config, progress=progress, logs=False)


# -- the view ---------------------------------------------------------------------------------


def with_probe_tasks(store: GraphStore, seed: int = 0) -> tuple[GraphStore, tuple[ProbeTask, ...]]:
    """The store with added tasks, and what they are; all other tensors are shared.

    Nothing is declared of them: they derive from no task, so their pairs count like any other.
    """
    rng = np.random.default_rng([seed, 7])
    schema, added, declared, tensors = store.schema, [], [], dict[str, Tensor]()
    taken = {*schema.task_names, *schema.modality_names}
    classes = dict(store.meta["tasks"])

    def add(kind: str, task: Task, target: Tensor, mask: Tensor, of: str = "") -> None:
        name = task.name
        while name in taken:
            name += "_"
        taken.add(name)
        declared.append(replace(task, name=name, columns=task.columns, metrics=()))
        added.append(ProbeTask(name, kind, of))
        tensors.update({f"y/{name}": target, f"mask/{name}": mask})
        if of in classes:
            classes[name] = classes[of]

    for task in _originals(store):
        target, mask = store.target(task.name), store.tensors[f"mask/{task.name}"]
        own = replace(task, derived_from=())
        spread = NOISE * target[mask.bool()].float().std(0, keepdim=True).nan_to_num(0.0)
        if task.kind == "regression":
            copy = target + spread * _noise(target, rng)
        else:
            copy = _flipped(task.kind, target, len(store.classes(task.name)), rng)
        add("duplicate", replace(own, name=f"{task.name}_duplicate"), copy, mask, task.name)
        if task.kind == "regression":
            negated = -(target + 2 * spread * _noise(target, rng))
            add("negation", replace(own, name=f"{task.name}_negated"), negated, mask, task.name)
    everywhere = torch.ones(len(store), dtype=torch.uint8)
    noise = _noise(torch.empty(len(store), 1), rng)
    add("noise", Task(name="pure_noise", kind="regression"), noise, everywhere)
    meta = {
        **store.meta,
        "schema": schema.with_tasks([*schema.tasks, *declared]).to_dict(),
        "tasks": classes,
    }
    # Without a path: what lies in the store's folder lacks these tasks.
    return GraphStore(meta, Overlay(store.tensors, tensors)), tuple(added)


def _originals(store: GraphStore) -> Sequence[Task]:
    """The tasks with the most training labels, two that are no kin where there are such."""
    counts = store.masks[store.rows("train")].sum(0)
    kin, chosen = kin_matrix(store.schema), list[int]()
    order = torch.argsort(counts, descending=True, stable=True).tolist()
    for place in order:
        if len(chosen) < MOST and not kin[place, chosen].any():
            chosen.append(place)
    return [store.schema.tasks[place] for place in sorted(chosen)]


def _noise(like: Tensor, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(like.shape)).astype(np.float32))


def _flipped(kind: str, target: Tensor, classes: int, rng: np.random.Generator) -> Tensor:
    """Class labels ``[S]`` or label sets ``[S, C]``, of which a share `FLIPPED` are others."""
    flip = torch.from_numpy(rng.random(tuple(target.shape)) < FLIPPED)
    if kind == "multilabel":
        return torch.where(flip, 1 - target, target)
    step = torch.from_numpy(rng.integers(1, max(2, classes), len(target)))
    return torch.where(flip, ((target + step) % classes).to(target.dtype), target)
