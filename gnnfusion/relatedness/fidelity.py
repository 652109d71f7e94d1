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

from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.estimators.ablation import cut_pairs, relates
from gnnfusion.relatedness.paired import as_rise, paired_gain
from gnnfusion.training.evaluate import loss_table, losses_of, outputs
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
    before = _losses(network, store, rows, told)
    scale, off = np.nanmean(before, axis=0), ~np.eye(len(kept), dtype=bool)

    def share(gone: np.ndarray) -> np.ndarray:
        """Each row's loss without these messages, mean over tasks of their shares."""
        with cut_pairs(network, gone & off):
            return _row_means(_losses(network, store, rows, told) / scale)

    rng, base = np.random.default_rng(seed), _row_means(before / scale)
    chance = [_as_many(kept, rng) for _ in range(RANDOM)]
    found = {}
    for name, gone, random, words in (
        ("necessity", kept, chance, f"without the messages of the {kept.sum()} kept pairs"),
        ("sufficiency", ~kept, [~c for c in chance],
         f"with the messages of the {kept.sum()} kept pairs alone"),
    ):  # fmt: skip
        gain, low, high, p_value = paired_gain(share(gone), base, rng)
        value, low, high = map(as_rise, (gain, low, high))
        baseline = float(np.mean([share(r).mean() for r in random]) / base.mean() - 1)
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


def _losses(network: FusionNetwork, store: GraphStore, rows: Tensor, told: bool) -> np.ndarray:
    """Losses ``[n, T]``, with nothing known or each with the other tasks' labels known."""
    if not told:
        return loss_table(network, store, rows)
    kin, columns = kin_matrix(store.schema), []
    for place in range(len(kin)):
        others = partial(others_shown, kin=kin, task=place)
        found = outputs(network, store, rows, others)
        columns.append(losses_of(network, store, rows, found)[:, place])
    return np.stack(columns, axis=1)
