r"""How much knowing label i tells about task j beyond the features.

.. math:: v_{ij} = \frac{\bar\ell_j(\emptyset) - \bar\ell_j(\{i\})}{\bar\ell_j(\emptyset)}

with :math:`\bar\ell_j(S)` the mean loss of task j on held-out samples that have both labels, when
the labels in S are shown to the network. Intervals are percentile bootstraps over samples.

Null: given the features, label i tells nothing of label j. Being told anything can change a loss,
too: a network that sees a label leans less on features, and where it had learned noise from them
that alone lowers its loss. So the p-value is not of the fall against nothing known, but of that
against a label drawn from what the network predicts for task i (`draw_labels`), which under the
null serves as well as the true one (the conditional randomization test of Candès et al.,
arXiv:1610.02351): a one-sided sign-flip test of the paired differences, over the mean of `TOLD`
draws. A pair whose loss does not fall against nothing known is no finding even so: there a drawn
label misleads more than the true one. Shuffled labels would not do, for they contradict the
features. The test holds as far as the network predicts task i rightly: what it makes too little of
in the features is then told by the label, and counts.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.store_file import Overlay
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.estimators import BEYOND
from gnnfusion.relatedness.paired import flip_tests, paired_gains
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evaluate import Pass, losses_of, losses_of_passes, outputs_of_passes
from gnnfusion.training.evidence import kin_matrix, only_shown

TOLD = 3  # labels drawn in place of each true one


def estimate(
    network: FusionNetwork,
    store: GraphStore,
    rows: Tensor,
    seed: int,
    told: GraphStore | None = None,
) -> TaskGraph:
    """Evidence of every ordered pair of tasks on `rows`.

    Parameters
    ----------
    network, store, rows
        What is measured; the store's labels are those that are scored.
    seed
        Of the bootstrap and the flips of signs.
    told
        The same samples with the labels that are shown; the store's own by default.
    """
    tasks = store.schema.task_names
    kin = kin_matrix(store.schema).numpy()
    masks = store.masks[rows].numpy()
    count = len(tasks)
    rng = np.random.default_rng(seed)

    def knowing(labels: GraphStore) -> list[Pass]:
        """Passes in which the label of one task is shown, by that task."""
        return [Pass(shown=partial(only_shown, task=i), told=labels) for i in range(count)]

    nothing, *true = outputs_of_passes(network, store, rows, [Pass(), *knowing(told or store)])
    base, *after_each = (losses_of(network, store, rows, out) for out in (nothing, *true))
    after = np.stack(after_each)  # [i, n, j]
    drawn = [draw_labels(store, rows, nothing, rng) for _ in range(TOLD)]
    found = losses_of_passes(network, store, rows, [p for labels in drawn for p in knowing(labels)])
    told_draws = np.reshape(found, (TOLD, *after.shape)).mean(0)
    both = masks.T[:, :, None] & masks  # [i, n, j]
    sources, targets = (~kin).nonzero()
    pairs = both[sources, :, targets].T
    knew = after[sources, :, targets].T
    value, low, high, p_value = (np.full((count, count), np.nan) for _ in range(4))
    gains = paired_gains(np.where(pairs, base[:, targets], np.nan), knew, rng)
    against = np.where(pairs, told_draws[sources, :, targets].T, np.nan)
    for matrix, each in zip((value, low, high), gains, strict=True):
        matrix[sources, targets] = each
    p_value[sources, targets] = flip_tests(against, knew, rng)
    return TaskGraph(
        tasks=tasks,
        method="evidence",
        question="label i informs j beyond the features",
        value=value,
        low=low,
        high=high,
        p_value=p_value,
        n=both.sum(1),
        derived=kin & ~np.eye(count, dtype=bool),
        one_sided=True,
        notes=(BEYOND,),
    )


def draw_labels(
    store: GraphStore,
    rows: Tensor,
    found: dict[str, Tensor],
    rng: np.random.Generator,
) -> GraphStore:
    """The store with labels of `rows` drawn from what the network's outputs say of them.

    Outputs are calibrated on these rows first, linearly, as an overfitted network is too sure:
    regressions are the fitted value with the residual of another row, classes are drawn by a
    logistic regression, sets of labels whole, from those that occur (`_draw_sets`). Else drawn
    labels would be more extreme than true ones, or such as never occur, and mislead more.

    Parameters
    ----------
    found
        By task whose labels are drawn, what tells of them on `rows`, ``[n, F]``.
    """
    changed = {}
    for task in (t for t in store.schema.tasks if t.name in found):
        known = store.mask(task.name)[rows]
        where = rows[known]
        target = store.target(task.name).clone()
        out, y = found[task.name][known].double().numpy(), target[where].numpy()
        if len(y) and task.kind == "regression":
            x = np.column_stack([np.ones(len(out)), out])
            fitted = x @ np.linalg.lstsq(x, y, rcond=None)[0]
            label = fitted + (y - fitted)[rng.permutation(len(y))]
        elif task.kind == "multilabel":
            label = _draw_sets(out, y, rng)
        else:
            label = _draw_class(out, y, rng)
        target[where] = torch.as_tensor(label).to(target.dtype)
        changed[f"y/{task.name}"] = target
    return GraphStore(store.meta, Overlay(store.tensors, changed), store.path)


def _draw_class(out: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Classes ``[n]`` drawn by a logistic regression of `y` ``[n]`` on outputs ``[n, K]``."""
    from sklearn.linear_model import LogisticRegression  # not at the top: it takes a second

    if len(np.unique(y)) < 2:
        return y
    z = _standardized(out)
    model = LogisticRegression(max_iter=500).fit(z, y)
    drawn: np.ndarray = model.classes_[_places(model.predict_proba(z), rng)]
    return drawn


def _standardized(out: np.ndarray) -> np.ndarray:
    """Outputs of mean 0 and spread 1: small ones would be lost to the ridge of what reads them."""
    spread = out.std(0)
    found: np.ndarray = (out - out.mean(0)) / np.where(spread > 0, spread, 1.0)
    return found


def _draw_sets(out: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    r"""Sets of labels drawn from those that occur in `y` ``[n, K]``, given outputs ``[n, F]``.

    A set s that has the share :math:`q_s` of the rows has, where the outputs are o, the chance
    :math:`q_s \exp(\sum_k s_k (a_k + w_k^\top o))`, over the sum of these. It keeps how labels
    occur together, and a and w of the largest likelihood make each label as frequent and as much in
    line with the outputs as in `y`; of one label it is the logistic regression.
    """
    from scipy.optimize import minimize  # not at the top: it takes long to import

    sets, place, times = np.unique(y, axis=0, return_inverse=True, return_counts=True)
    if len(sets) < 2:
        return y
    z = np.column_stack([np.ones(len(out)), _standardized(out)])
    known = sets.astype(np.float64)

    def log_chances(weights: np.ndarray) -> np.ndarray:
        score = z @ weights.reshape(z.shape[1], -1) @ known.T + np.log(times)
        found: np.ndarray = score - logsumexp(score, axis=1, keepdims=True)
        return found

    def unlikely(weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log-likelihood, with a ridge as scikit-learn's, and its gradient."""
        chances = log_chances(weights)
        slope = (z.T @ (np.exp(chances) @ known - y)).ravel() + weights
        likely = chances[np.arange(len(y)), place.ravel()].sum()
        return 0.5 * weights @ weights - likely, slope

    start = np.zeros(z.shape[1] * y.shape[1])
    fitted = minimize(unlikely, start, jac=True, method="L-BFGS-B").x
    drawn: np.ndarray = sets[_places(np.exp(log_chances(fitted)), rng)]
    return drawn


def _places(chances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One place ``[n]`` drawn by each row of chances ``[n, K]``."""
    passed = rng.random((len(chances), 1)) > np.cumsum(chances, axis=1)
    return np.minimum(passed.sum(1), chances.shape[1] - 1)
