"""Samples as vectors: what a network's encoders make of them, and the principal axes of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnfusion.graphs.batch import make_batch
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.topology import Topology
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.training.evaluate import BATCH

WIDEST = 1024  # numbers of a modality: those of all its nodes, or, if there were more, their mean
LEAST = 1e-6  # variance of axes that have none


def principal_axes(x: np.ndarray, most: int) -> np.ndarray:
    """At most so many principal axes ``[n, R]`` of ``[n, D]``, of a total variance of 1."""
    from sklearn.utils.extmath import randomized_svd

    u, size, _ = randomized_svd(x - x.mean(0), max(1, min(most, *x.shape)), random_state=0)
    z: np.ndarray = u * size
    return z / np.sqrt(max(np.square(z).sum() / len(z), LEAST))


@torch.no_grad()
def encoded_samples(network: FusionNetwork, store: GraphStore, rows: Tensor) -> np.ndarray:
    """What the encoders make of samples, ``[n, D]``.

    Of a modality all nodes side by side, where each sample has as many and they are not too many
    numbers, else their mean. It has a total variance of 1 over the samples that have it; in others
    it counts as the mean.
    """
    network.eval()
    device = next(network.parameters()).device
    parts: dict[tuple[str, ...], list[Tensor]] = {}
    there: dict[str, Tensor] = {}
    places: dict[str, int] = {}
    for name in store.schema.modality_names:
        counts = store.nodes(name).ptr.diff()[rows]
        there[name] = counts > 0
        several = counts[there[name]].unique()
        places[name] = int(several) if len(several) == 1 else 0
    for chosen in rows.split(BATCH):
        batch = make_batch(store, chosen, Topology([])).to(device)
        for path, nodes in _by_path(network.encode_modalities(batch)):
            own = batch.node_offset(path[-1]) == 0  # context is other samples'
            counts = torch.bincount(batch.node_sample(path[-1])[own], minlength=len(batch))
            place = places[path[-1]]
            if place * nodes.shape[1] > WIDEST:
                place = 0
            read = _of_samples(nodes[own].double(), counts, place)
            parts.setdefault(path, []).append(read.cpu())
    blocks = [_scaled(torch.cat(found), there[path[-1]]) for path, found in parts.items()]
    return np.concatenate(blocks, 1)


def _by_path(encoded: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Node vectors by modality, of networks side by side by network and modality."""
    for name, found in encoded.items():
        if isinstance(found, Mapping):
            yield from (((name, *path), nodes) for path, nodes in _by_path(found))
        else:
            yield (name,), found


def _of_samples(nodes: Tensor, counts: Tensor, place: int) -> Tensor:
    """One modality of the samples that have it ``[n', d]``: their nodes side by side, so many of
    each, or (0) their mean.

    Parameters
    ----------
    nodes
        ``[N, width]``.
    counts
        Nodes of each sample ``[n]``.
    """
    there = counts > 0
    if place:
        return nodes.reshape(int(there.sum()), place * nodes.shape[1])
    sample = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    total = nodes.new_zeros(len(counts), nodes.shape[1]).index_add(0, sample, nodes)
    return total[there] / counts[there].unsqueeze(1)


def _scaled(found: Tensor, there: Tensor) -> np.ndarray:
    """Samples ``[n, d]`` of those that have the modality ``[n', d]``, of a total variance of 1."""
    x = np.zeros((len(there), found.shape[1]))
    if len(found):
        x[there.numpy()] = (found - found.mean(0)).numpy()
    size = np.square(x).sum() / max(len(found), 1)
    return x / np.sqrt(size) if size > 0 else x
