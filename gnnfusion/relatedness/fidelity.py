r"""Whether the edges that a task graph keeps are those that the network's messages need.

On the heterogeneous graph, where task nodes pass messages along ``relates``, with
:math:`\bar\ell(E)` the mean loss over tasks, each as a share of its own, when only the edges E are
there (all of them: A; those the task graph keeps: K):

.. math:: \text{necessity} = \frac{\bar\ell(A \setminus K) - \bar\ell(A)}{\bar\ell(A)}, \qquad
          \text{sufficiency} = \frac{\bar\ell(K) - \bar\ell(A)}{\bar\ell(A)}

after the two fidelities of explanations of graph networks (Amara et al., `arXiv:2206.09677
<https://arxiv.org/abs/2206.09677>`_). Intervals are bootstraps over rows. A network that never met
a graph with fewer edges may err on any such graph, above all where messages are averaged, so both
stand beside the same for pairs at random, as many into each task, mean over `RANDOM` draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.estimators.ablation import cut_pairs, relates
from gnnfusion.relatedness.paired import as_rise, paired_gain
from gnnfusion.training.evaluate import Pass, losses_of_passes
from gnnfusion.training.evidence import kin_matrix, others_shown

RANDOM = 3


def fidelity(
    network: FusionNetwork,
    store: GraphStore,
    rows: Tensor,
    kept: np.ndarray,
    seed: int,
    *,
    told: bool = False,
) -> dict[str, dict[str, Any]]:
    """Necessity and sufficiency of the pairs that are kept.

    Parameters
    ----------
    network, store, rows
        A trained network and held-out rows.
    kept
        Pairs from task i to task j, bool ``[T, T]``.
    seed
        Of the bootstrap.
    told
        Whether each task is told the known labels of all others (but its kin), which is what then
        goes along the edges; else nothing is known.

    Returns
    -------
    dict
        ``necessity`` and ``sufficiency``, as `gnnfusion.relatedness.controls` has them. Empty where
        no pair is kept, or no messages go between task nodes.
    """
    if not kept.any() or not relates(network, store):
        return {}
    rows = rows[store.masks[rows].any(1)]
    rng, off = np.random.default_rng(seed), ~np.eye(len(kept), dtype=bool)
    chance = [_as_many(kept, rng) for _ in range(RANDOM)]
    none, gone = np.zeros_like(kept), [kept, *chance, ~kept, *(~c for c in chance)]
    before, *after = _losses(network, store, rows, told, [none, *(g & off for g in gone)])
    # Each row's loss without these messages, mean over tasks of their shares.
    scale = np.nanmean(before, axis=0)
    base, *without = (_row_means(losses / scale) for losses in (before, *after))
    found = {}
    for name, (ours, *random), words in (
        ("necessity", without[: 1 + RANDOM],
         f"without the messages of the {kept.sum()} kept pairs"),
        ("sufficiency", without[1 + RANDOM :],
         f"with the messages of the {kept.sum()} kept pairs alone"),
    ):  # fmt: skip
        gain, low, high, p_value = paired_gain(ours, base, rng)
        value, low, high = map(as_rise, (gain, low, high))
        baseline = float(np.mean([r.mean() for r in random]) / base.mean() - 1)
        told_too = ", told all other labels," if told else ""
        found[name] = {
            "value": value, "low": low, "high": high, "p_value": p_value, "random": baseline,
            "passed": low > baseline if name == "necessity" else high < baseline,
            "sentence": f"{words}{told_too} the loss changes by {100 * value:+.2f} % "
                        f"({100 * low:+.2f} to {100 * high:+.2f}); as many at random: "
                        f"{100 * baseline:+.2f} %",
        }  # fmt: skip
    return found


def _row_means(values: np.ndarray) -> np.ndarray:
    """Mean over tasks ``[n]`` of what is known of ``[n, T]``."""
    found: np.ndarray = np.nanmean(values, axis=1)
    return found


def _as_many(kept: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pairs at random, as many into each target, none on the diagonal."""
    found = np.zeros_like(kept)
    for j in range(len(kept)):
        others = np.delete(np.arange(len(kept)), j)
        found[rng.permutation(others), j] = kept[others, j]
    return found


def _losses(
    network: FusionNetwork, store: GraphStore, rows: Tensor, told: bool, cuts: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Losses ``[n, T]`` without the messages of each of the cuts ``[T, T]``, with nothing known or
    each task with the others' labels known."""
    kin, tasks = kin_matrix(store.schema), store.schema.task_names
    shows: list[tuple[Any, Sequence[str]]] = [(None, tasks)]
    if told:
        shows = [(partial(others_shown, kin=kin, task=i), [t]) for i, t in enumerate(tasks)]
    passes = [
        Pass(shown=shown, tasks=scored, within=partial(cut_pairs, network, pairs))
        for pairs in cuts
        for shown, scored in shows
    ]
    found = losses_of_passes(network, store, rows, passes)
    starts = range(0, len(found), len(shows))
    return [np.concatenate(found[start : start + len(shows)], axis=1) for start in starts]
