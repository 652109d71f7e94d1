"""Predictions for a new raw table: its rows through the run's extractors and network."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gnnfusion.errors import UsageError
from gnnfusion.graphs.build import build
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.schema import Schema, Task
from gnnfusion.training.evaluate import (
    Pass,
    Prediction,
    outputs,
    outputs_of_passes,
    predictions_by_task,
)
from gnnfusion.training.evidence import kin_matrix

if TYPE_CHECKING:
    import pandas as pd

    from gnnfusion.training.run import Run


def predict(
    runs: Run | Sequence[Run],
    table: str | Path | pd.DataFrame,
    *,
    given: str | tuple[str, ...] = "none",
    weights: str = "equal",
    device: str = "auto",
    workers: int | None = None,
) -> pd.DataFrame:
    """Predict every task for every row of a new table.

    Parameters
    ----------
    runs
        A trained run, or several of the same tasks, whose probabilities and values are averaged.
    table
        Path or DataFrame with the schema's modality columns; media paths are relative to it.
    given
        Which label columns of the table the network may use: ``none``, ``auto`` (all that are
        there) or names of tasks. For a task whose label is given, that value is returned and
        ``TASK_given`` is true; labels of a task's kin are never used for it. A fusion without task
        nodes cannot use any, nor can a run that was trained with evidence 0.
    weights
        Of several runs: ``equal``, or ``stack``, fitted for each task on validation rows
        (`gnnfusion.training.ensemble.fit_weights`).
    device, workers
        Where to compute; processes that read media.

    Returns
    -------
    pandas.DataFrame
        One row per row of the table: the id; per task its prediction (class label, or value per
        column), for class tasks ``TASK_p_CLASS``; with `given`, ``TASK_given``; and ``problem``,
        what of the row could not be read.

    Raises
    ------
    UsageError
        Runs of different tasks or classes, or a name that is unknown.
    """
    import pandas as pd

    from gnnfusion.training.ensemble import WEIGHTS, check_alike, combine, fit_weights

    runs = [runs] if not isinstance(runs, Sequence) else list(runs)
    if weights not in WEIGHTS:
        raise UsageError(f"unknown weights {weights!r}; use {' or '.join(WEIGHTS)}")
    check_alike(runs)
    parts = [_read(run, table, given, device, workers) for run in runs]
    first, schema = parts[0], runs[0].schema
    shares = fit_weights(runs, device) if weights == "stack" else {}
    frame: dict[str, Any] = {schema.id or "id": first.ids}
    for place, task in enumerate(schema.tasks):
        predicted, probability = combine(
            task, [part.found[task.name] for part in parts], shares.get(task.name)
        )
        known, target = first.shown[:, place], first.targets[task.name]
        predicted = np.where(known.reshape(-1, *[1] * (predicted.ndim - 1)), target, predicted)
        frame |= _columns(task, first.classes[task.name], predicted, probability)
        if first.names:
            frame[f"{task.name}_given"] = known
    # What several runs cannot read is said once.
    said = zip(*(part.problems for part in parts), strict=True)
    frame["problem"] = ["; ".join(dict.fromkeys(p for p in row if p)) for row in said]
    return pd.DataFrame(frame)


@dataclass(frozen=True)
class _Part:
    """What one run makes of a table."""

    ids: list[str]
    names: tuple[str, ...]
    found: dict[str, Prediction]
    shown: np.ndarray
    targets: dict[str, np.ndarray]
    classes: dict[str, tuple[str, ...]]
    problems: list[str]


def _read(
    run: Run, table: str | Path | pd.DataFrame, given: str | tuple[str, ...], device: str,
    workers: int | None,
) -> _Part:  # fmt: skip
    import pandas as pd

    names = _given_names(run.schema, given)
    if names:
        run.check_reads_labels()
    with tempfile.TemporaryDirectory(prefix="gnnfusion-") as folder:
        path = Path(folder) / "store"
        # Relative paths in a DataFrame start from the working directory, not from the run folder.
        schema = replace(run.schema, base=Path("."))
        store = build(
            schema, path, fitted=run.features, table=table, workers=workers, progress=False
        )
        network = run.network(device)
        out, shown = _outputs(network, store, store.rows(), names)
        report = pd.read_csv(path / "build_report.csv", dtype=str, keep_default_na=False)
        problems = report.groupby("row")["problem"].apply("; ".join)
        tasks = store.schema.tasks
        return _Part(
            ids=store.ids(),
            names=names,
            found=predictions_by_task(network, store, out),
            shown=shown.numpy(),
            targets={t.name: store.target(t.name).numpy().copy() for t in tasks},
            classes={t.name: store.classes(t.name) for t in tasks},
            problems=[problems.get(str(r), "") for r in range(len(store))],
        )


def _given_names(schema: Schema, given: str | tuple[str, ...]) -> tuple[str, ...]:
    if given == "none":
        return ()
    if given == "auto":
        return schema.task_names
    names = tuple(given.split(",")) if isinstance(given, str) else given
    for name in names:
        if name not in schema.task_names:
            raise UsageError(
                f"--given names the unknown task {name!r}; use none, auto or "
                + ", ".join(schema.task_names)
            )
    return names


def _outputs(
    network: FusionNetwork, store: GraphStore, rows: Tensor, names: tuple[str, ...]
) -> tuple[dict[str, Tensor], Tensor]:
    """Outputs per task and the labels that were given, bool ``[n, T]``."""
    usable = torch.tensor([t in names for t in store.schema.task_names])
    shown = store.masks[rows] & usable
    if not bool(shown.any()):
        return outputs(network, store, rows), shown
    kin = kin_matrix(store.schema)
    # One pass a task, since which labels are no kin of the task differs from task to task.
    passes = [
        Pass(shown=partial(torch.logical_and, other=usable & ~kin[place]), tasks=[task])
        for place, task in enumerate(store.schema.task_names)
    ]
    found = outputs_of_passes(network, store, rows, passes)
    return {task: out for each in found for task, out in each.items()}, shown


def _columns(
    task: Task, classes: tuple[str, ...], predicted: np.ndarray, probability: np.ndarray | None
) -> dict[str, Any]:
    if task.kind == "regression":
        names = (
            [task.name] if len(task.columns) == 1 else [f"{task.name}_{c}" for c in task.columns]
        )
        return {name: predicted[:, i] for i, name in enumerate(names)}
    assert probability is not None
    shares = {f"{task.name}_p_{c}": probability[:, i] for i, c in enumerate(classes)}
    if task.kind == "multilabel":
        return {f"{task.name}_{c}": predicted[:, i] for i, c in enumerate(classes)} | shares
    return {task.name: np.asarray(classes, dtype=object)[predicted]} | shares
