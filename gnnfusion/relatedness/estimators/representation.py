r"""How alike what the network makes of a sample for one task is to what it makes for another.

The representation of task t is the vector of its head's outputs (logits, standardized values), on
held-out rows; no label is read, so tasks that are never labelled together are compared, too.

``cka``
    Linear centred kernel alignment (Kornblith et al., arXiv:1905.00414) of the centred outputs
    :math:`X_i, X_j`: :math:`\lVert X_i^\top X_j \rVert_F^2 / (\lVert X_i^\top X_i \rVert_F
    \lVert X_j^\top X_j \rVert_F)`. It is 1 for rotated copies, and for single outputs the squared
    correlation.
``rsa``
    Spearman correlation of the distances between all pairs of rows (representation similarity
    analysis as Dwivedi and Roig use it for tasks, arXiv:1904.11740), of at most `MOST` rows.

Question: training with i helps j, of which likeness is a sign. Null: none, since both are functions
of the same inputs. Intervals are over rows: of ``cka``, a square, by `intervals.square_interval`,
of ``rsa`` by a bootstrap. Cost: one forward pass.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import rankdata
from torch import Tensor

from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.relatedness.alignment import aligned_without
from gnnfusion.relatedness.estimators import HELPS
from gnnfusion.relatedness.intervals import square_interval
from gnnfusion.relatedness.resampling import resampled, some_rows
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.evaluate import outputs
from gnnfusion.training.evidence import kin_matrix

DRAWS = 200
MOST = 100


def estimate_cka(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """Linear centred kernel alignment of every pair; nothing is drawn."""
    vectors = _vectors(network, store, rows)
    value = cka_matrix(vectors)
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    for i, j in zip(*np.triu(np.isfinite(value), 1).nonzero(), strict=True):
        ends = square_interval(value[i, j], aligned_without(vectors[i], vectors[j]))
        low[[i, j], [j, i]], high[[i, j], [j, i]] = ends
    unit = "centred kernel alignment"
    return graph_of_likeness("cka", value, low, high, store, len(rows), unit)


def estimate_rsa(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """Rank correlation of distances of every pair."""
    rng = np.random.default_rng(seed)
    rows = some_rows(rows, MOST, rng)
    vectors, size = _vectors(network, store, rows), len(rows)
    unit = "rank correlation of distances"
    ends = _percentiles(rsa_draws(vectors, DRAWS, rng))
    return graph_of_likeness("rsa", rsa_matrix(vectors), *ends, store, size, unit)


def cka_matrix(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Linear centred kernel alignment of T representations ``[n, d_t]``, ``[T, T]``.

    NaN where one is constant.
    """
    centred = [v - v.mean(0) for v in vectors]
    cross = np.array([[np.square(a.T @ b).sum() for b in centred] for a in centred])
    own = np.sqrt(cross.diagonal())
    own = np.where(own > 0, own, np.nan)
    found: np.ndarray = cross / np.outer(own, own)
    return found


def rsa_matrix(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Spearman correlation of the rows' distances in T representations, ``[T, T]``.

    NaN where one has no spread.
    """
    return _correlations(_distance_ranks(vectors))


def rsa_draws(vectors: Sequence[np.ndarray], draws: int, rng: np.random.Generator) -> np.ndarray:
    """`rsa_matrix` of bootstrap samples of rows, ``[draws, T, T]``.

    A row drawn m times is in m times as many pairs, but in none with itself: at distance 0 in all
    representations these would swell the correlation. Ranks are those within the sample.
    """
    distances = [np.unique(pdist(v), return_inverse=True)[1] for v in vectors]
    size = len(vectors[0])
    a, b = np.triu_indices(size, 1)
    found = []
    for times in resampled(draws, size, rng):
        weight = times[a] * times[b]
        there = weight > 0
        weight = weight[there]
        ranks = []
        for place in distances:
            each = np.bincount(place[there], weight)
            ranks.append((np.cumsum(each) - each / 2)[place[there]])  # the mean rank of ties
        found.append(_correlations(np.stack(ranks), weight))
    return np.stack(found)


def _distance_ranks(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Ranks of the distances of every pair of rows, ``[T, n (n - 1) / 2]``."""
    return np.stack([rankdata(pdist(v)) for v in vectors])


def _correlations(values: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Correlation of every two rows ``[T, m]``; NaN where one has no spread.

    Parameters
    ----------
    weight
        Of columns, ``[m]``; 1 by default.
    """
    root = 1.0 if weight is None else np.sqrt(weight)
    values = (values - np.average(values, axis=1, weights=weight)[:, None]) * root
    size = np.linalg.norm(values, axis=1)
    size = np.where(size > 0, size, np.nan)
    found: np.ndarray = values @ values.T / np.outer(size, size)
    return found


def _percentiles(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95 % interval ``[T, T]`` from bootstrap draws ``[D, T, T]``."""
    with warnings.catch_warnings():  # all draws of a pair that cannot be estimated are NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    return low, high


def _vectors(network: FusionNetwork, store: GraphStore, rows: Tensor) -> list[np.ndarray]:
    return [out.double().numpy() for out in outputs(network, store, rows).values()]


def graph_of_likeness(
    method: str, value: np.ndarray, low: np.ndarray, high: np.ndarray, store: GraphStore,
    size: int | np.ndarray, unit: str, note: str = "n counts rows, labelled or not",
) -> TaskGraph:  # fmt: skip
    """A symmetric graph of values with their intervals, ``[T, T]`` each, without a test."""
    count = len(value)
    kin = kin_matrix(store.schema).numpy()
    return TaskGraph(
        tasks=store.schema.task_names,
        method=method,
        question=HELPS,
        value=np.where(kin, np.nan, value),
        low=np.where(kin, np.nan, low),
        high=np.where(kin, np.nan, high),
        p_value=np.full((count, count), np.nan),
        n=np.broadcast_to(size, (count, count)).copy(),
        derived=kin & ~np.eye(count, dtype=bool),
        symmetric=True,
        unit=unit,
        ranks_only=True,
        notes=(note,),
    )
