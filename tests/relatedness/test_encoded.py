"""What encoders make of samples, in batches or at once, and its axes."""

import numpy as np
import pytest
import torch
from random_stores import make_network, make_store

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.network import network_for
from gnnfusion.relatedness.encoded import _of_samples, _scaled, encoded_samples, principal_axes
from gnnfusion.schema import Context


def test_axes_hold_the_most_variance_and_have_a_total_of_one():
    x = np.random.default_rng(0).normal(size=(50, 6)) * [9, 8, 7, 0.1, 0.1, 0.1]
    z = principal_axes(x, 3)
    assert np.square(z).sum() / 50 == pytest.approx(1)
    centred = x - x.mean(0)
    gram = centred @ centred.T
    np.testing.assert_allclose(z @ z.T, gram * 50 / np.trace(gram), atol=2e-3)
    assert principal_axes(x, 99).shape == (50, 6)
    assert principal_axes(np.zeros((9, 4)), 2).shape == (9, 2)


def test_nodes_of_one_number_stand_side_by_side_and_others_are_averaged():
    nodes = torch.arange(12, dtype=torch.float64).reshape(6, 2) ** 2
    found = _of_samples(nodes, torch.tensor([2, 0, 2, 2]), 2)
    assert torch.equal(found, nodes.reshape(3, 4))
    uneven = _of_samples(nodes, torch.tensor([1, 3, 0, 2]), 0)
    mean = torch.stack([nodes[:1].mean(0), nodes[1:4].mean(0), nodes[4:].mean(0)])
    torch.testing.assert_close(uneven, mean)
    nobody = torch.zeros(3, dtype=torch.long)
    assert [_of_samples(nodes[:0], nobody, n).shape for n in (0, 2)] == [(0, 2), (0, 4)]


def test_a_modality_has_a_variance_of_one_where_it_is_there_and_is_0_elsewhere():
    there = torch.tensor([True, False, True, True, False])
    found = _scaled(torch.randn(3, 4, dtype=torch.float64) + 5, there)
    assert not found[~there.numpy()].any()
    assert np.square(found).sum() / 3 == pytest.approx(1)
    np.testing.assert_allclose(found.sum(0), 0, atol=1e-12)
    assert not _scaled(torch.zeros(0, 4), torch.zeros(2, dtype=torch.bool)).any()


@pytest.mark.parametrize(("sharing", "most"), [("auto", 1), ("auto", 3), ("single", 3)])
def test_samples_are_what_the_encoders_make_of_their_own_nodes(sharing, most):
    """In batches or at once, of each network where there are several."""
    store = make_store(("vector", "tokens"), ("regression", "binary"), 300, missing=0.2, most=most)
    network = network_for(store, NetworkConfig(width=8, heads=2, sharing=sharing)).eval()
    network.fit_statistics(store, store.rows())
    rows = store.rows()[torch.randperm(300, generator=torch.Generator().manual_seed(0))]
    found = encoded_samples(network, store, rows)
    with torch.no_grad():
        batch = make_batch(store, rows, topology_of(store))
        encoded = network.encode_modalities(batch)
    parts = [encoded] if sharing == "auto" else list(encoded.values())
    expected = []
    for part in parts:
        for name, nodes in part.items():
            own = batch.node_offset(name) == 0
            counts = torch.bincount(batch.node_sample(name)[own], minlength=300)
            places = counts[counts > 0].unique()
            place = int(places) if len(places) == 1 else 0
            assert (place > 0) == (most == 1)
            expected.append(_scaled(_of_samples(nodes[own].double(), counts, place), counts > 0))
    np.testing.assert_allclose(found, np.concatenate(expected, 1), atol=1e-5)
    alone = encoded_samples(network, store, rows[:1])  # in a batch that lacks some modality
    assert alone.shape[0] == 1


def test_the_context_of_a_sample_is_not_read():
    context = Context(group="g", order="o", before=2, after=1)
    store = make_store(("vector",), ("regression",), 12, context=context, missing=0.0)
    network = make_network(store)
    rows = store.rows()
    changed = {**store.tensors}
    last = int(rows[-1])
    start, end = store.tensors["ptr/m0"][[last, last + 1]].tolist()
    x = store.tensors["x/m0"].clone()
    x[start:end] += 3.0
    changed["x/m0"] = x
    plain = encoded_samples(network, store, rows[:-1])
    np.testing.assert_array_equal(
        encoded_samples(network, GraphStore(store.meta, changed), rows[:-1]), plain
    )
