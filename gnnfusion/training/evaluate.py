"""Outputs of a network on stored samples, and their scores; never imports Lightning."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnfusion.errors import UsageError
from gnnfusion.graphs.batch import GraphBatch, make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.nn.reuse import reusing
from gnnfusion.schema import Task
from gnnfusion.training.evidence import kin_matrix, only_shown, others_shown
from gnnfusion.training.metrics import score
from gnnfusion.training.objective import label_goal, sample_losses

BATCH = 256
Prediction = tuple[np.ndarray, np.ndarray | None]
"""Predicted labels ``[n]`` or ``[n, d]`` and, for class tasks, probabilities ``[n, C]``."""


def pick_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one; `UsageError` if cuda is asked for and absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is available; use --device cpu")
    return torch.device(name)


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One of several passes over the same samples, whose modalities are encoded once for all.

    Parameters
    ----------
    shown
        Maps the known-label mask of a batch ``[B, T]`` to the labels to show; none by default.
    told
        The same samples, with the same labels known, whose labels are shown; the store's own by
        default.
    within
        Makes a context for the pass, such as one in which edges are cut. It may change what the
        network is given; a module that it changes names that in its steps (`gnnfusion.nn.reuse`),
        as layers do with uniform attention.
    tasks
        Whose outputs are kept; all by default.
    """

    shown: Callable[[Tensor], Tensor] | None = None
    told: GraphStore | None = None
    within: Callable[[], AbstractContextManager[None]] = nullcontext
    tasks: Collection[str] | None = None


def outputs(
    network: FusionNetwork,
    store: GraphStore,
    rows: Tensor,
    shown: Callable[[Tensor], Tensor] | None = None,
    batch_size: int = BATCH,
) -> dict[str, Tensor]:
    """Outputs per task ``[n, K]`` on the CPU, in evaluation mode: those of a single `Pass`."""
    return outputs_of_passes(network, store, rows, [Pass(shown=shown)], batch_size)[0]


@torch.no_grad()
def outputs_of_passes(
    network: FusionNetwork,
    store: GraphStore,
    rows: Tensor,
    passes: Sequence[Pass],
    batch_size: int = BATCH,
) -> list[dict[str, Tensor]]:
    """Outputs per task ``[n, K]`` of each pass on the CPU, in evaluation mode.

    Encoders see neither labels nor edges, and are most of the work where they read pictures, sound
    or text: however many the passes, they run once. So does what in a graph fusion neither labels
    nor cuts reach (`gnnfusion.nn.reuse`).

    Parameters
    ----------
    network, store, rows
        What to compute, in the order of `rows`.
    passes
        What differs.
    batch_size
        Samples at a time; changes nothing but speed.
    """
    if not passes:
        return []
    network.eval()
    device = next(network.parameters()).device
    topology = topology_of(store)
    kept = [store.schema.task_names if p.tasks is None else p.tasks for p in passes]
    parts: list[dict[str, list[Tensor]]] = [{t: [] for t in tasks} for tasks in kept]
    for chosen in rows.split(batch_size) if len(rows) else [rows]:
        plain = make_batch(store, chosen, topology)
        masks, plain = plain.masks, plain.to(device)
        encoded = network.encode_modalities(plain)
        with reusing() if len(passes) > 1 else nullcontext():
            for each, part in zip(passes, parts, strict=True):
                visible = None if each.shown is None else each.shown(masks).to(device)
                batch = plain
                if each.told is not None:
                    batch = replace(plain, targets=_told(each.told, store, chosen, plain))
                with each.within():
                    found = network(batch, visible, encoded, each.tasks)
                for task, several in part.items():
                    several.append(found[task].float().cpu())
    return [{task: torch.cat(several) for task, several in part.items()} for part in parts]


def _told(
    told: GraphStore, store: GraphStore, rows: Tensor, batch: GraphBatch
) -> dict[str, Tensor]:
    """The labels that a batch's rows have in another store; those of the batch where the same."""
    return {
        task: old if told.target(task) is store.target(task)
        else told.target(task)[rows].to(old.device)
        for task, old in batch.targets.items()
    }  # fmt: skip


def predictions(network: FusionNetwork, task: Task, out: Tensor) -> Prediction:
    """Predicted labels and, for class tasks, probabilities ``[n, C]`` from a task's outputs."""
    head = network.head(task.name)
    out = out.to(next(head.parameters()).device)
    with torch.no_grad():
        predicted = head.predict(out).cpu().numpy()
        if task.kind == "regression":
            return predicted, None
        return predicted, head.probabilities(out).cpu().numpy()


def predictions_by_task(
    network: FusionNetwork, store: GraphStore, found: Mapping[str, Tensor]
) -> dict[str, Prediction]:
    """Task -> `predictions` of its outputs, in the schema's order."""
    tasks = [t for t in store.schema.tasks if t.name in found]
    return {t.name: predictions(network, t, found[t.name]) for t in tasks}


def loss_table(
    network: FusionNetwork, store: GraphStore, rows: Tensor, shown: int | None = None
) -> np.ndarray:
    """Loss of every sample and task ``[n, T]``, NaN where unlabelled.

    Parameters
    ----------
    network, store, rows
        What to compute.
    shown
        Place of the task whose label is known wherever it is there; None: nothing is known.
    """
    only = None if shown is None else partial(only_shown, task=shown)
    return losses_of(network, store, rows, outputs(network, store, rows, only))


def losses_of_passes(
    network: FusionNetwork, store: GraphStore, rows: Tensor, passes: Sequence[Pass]
) -> list[np.ndarray]:
    """Loss ``[n, T]`` of each pass, of the tasks that it keeps, NaN where unlabelled."""
    found = outputs_of_passes(network, store, rows, passes)
    return [losses_of(network, store, rows, each) for each in found]


def losses_of(
    network: FusionNetwork, store: GraphStore, rows: Tensor, found: dict[str, Tensor]
) -> np.ndarray:
    """Loss ``[n, T]`` of outputs on `rows` under the store's labels, NaN where unlabelled."""
    result = np.full((len(rows), len(found)), np.nan)
    for place, (task, out) in enumerate(found.items()):
        known = store.mask(task)[rows]
        head = network.head(task)
        device = next(head.parameters()).device
        target = store.target(task)[rows][known].to(device)
        with torch.no_grad():
            loss = sample_losses(head, out[known].to(device), target)
        result[known.numpy(), place] = loss.double().cpu().numpy()
    return result


def goals_of(network: FusionNetwork, store: GraphStore, rows: Tensor) -> dict[str, Tensor]:
    """Labels of `rows` in the form of the outputs (`label_goal`) ``[n, K]``, 0 where unlabelled."""
    result = {}
    for task in store.schema.task_names:
        known, head = store.mask(task)[rows], network.head(task)
        target = store.target(task)[rows].to(next(head.parameters()).device)
        goal = label_goal(head, target).double().cpu()
        result[task] = torch.where(known.unsqueeze(1), goal, 0.0)
    return result


def scores(
    network: FusionNetwork, store: GraphStore, rows: Tensor, found: dict[str, Tensor]
) -> dict[str, dict[str, float]]:
    """Metrics per task of outputs on `rows`, over the labelled ones."""
    return scores_of_predictions(store, rows, predictions_by_task(network, store, found))


def scores_of_predictions(
    store: GraphStore, rows: Tensor, predicted: Mapping[str, Prediction]
) -> dict[str, dict[str, float]]:
    """The same of predictions, whatever made them."""
    result = {}
    for task in store.schema.tasks:
        if task.name not in predicted:
            continue
        known = store.mask(task.name)[rows].numpy()
        y = store.target(task.name)[rows].numpy()[known]
        value, chances = predicted[task.name]
        result[task.name] = score(
            task, y, value[known], None if chances is None else chances[known]
        )
    return result


def evaluate(
    network: FusionNetwork,
    store: GraphStore,
    splits: tuple[str, ...] = ("valid", "test"),
    *,
    given: bool = True,
) -> dict[str, Any]:
    """``split``: metrics with no label known; ``split_given_others``: each task with all labels
    but its own and its kin's shown, and nothing at all if the network has not learned to read
    labels (`given` is false: trained with evidence 0) or its fusion cannot."""
    result: dict[str, Any] = {"split": {}, "split_given_others": {}}
    kin, reads = kin_matrix(store.schema), given and network.reads_labels
    knowing = [
        Pass(shown=partial(others_shown, kin=kin, task=place), tasks=[task])
        for place, task in enumerate(store.schema.task_names)
        if reads and not kin[place].all()
    ]
    for split in splits:
        rows = store.rows(split)
        if len(rows) == 0:
            continue
        plain, *told = outputs_of_passes(network, store, rows, [Pass(), *knowing])
        result["split"][split] = scores(network, store, rows, plain)
        if reads:
            joined = {task: out for each in told for task, out in each.items()}
            result["split_given_others"][split] = scores(network, store, rows, joined)
    return result
