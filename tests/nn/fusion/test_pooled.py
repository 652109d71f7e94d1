"""Pooled fusions: each against its definition, computed here sample by sample."""

import itertools

import pytest
import torch
from random_stores import make_network, make_store

from gnnfusion.errors import UsageError
from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.late import by_slot
from gnnfusion.nn.fusion.low_rank import LowRankFusion
from gnnfusion.nn.fusion.pooling import add_empty, masked_softmax, pool_slots, slot_names
from gnnfusion.nn.fusion.tensor import LARGEST, TensorFusion, factor_size, outer_product
from gnnfusion.nn.fusion.trunk import GraphTypes
from gnnfusion.schema import Context

CONFIG = NetworkConfig(width=4, layers=1, heads=2, dropout=0.0)


@pytest.fixture(scope="module")
def store():
    return make_store(samples=12, context=Context(group="g", order="o", before=1, after=1))


def made(store, fusion):
    """A network in double precision, its encoded nodes and the batch of all rows."""
    network = make_network(store, fusion=fusion)
    batch = make_batch(store, store.rows(), topology_of(store))
    with torch.no_grad():
        h = {m: x.double() for m, x in network.encode(batch).items()}
    return network.fusion.double(), h, batch


def slots_of(h, batch, row):
    """Per slot the mean of its nodes in this sample, or None."""
    found = []
    for m in batch.nodes:
        mine, offset = batch.node_sample(m) == row, batch.node_offset(m)
        for chosen in (offset == 0, offset < 0, offset > 0):
            nodes = h[m][mine & chosen]
            found.append(nodes.mean(0) if len(nodes) else None)
    return found


def branch_vectors(trunk, h, batch, row):
    """Per slot its network's output, or None."""
    nets = trunk.branches.branches.values()
    means = slots_of(h, batch, row)
    return [None if x is None else net(x[None])[0] for x, net in zip(means, nets, strict=True)]


def test_slots_are_means_of_own_before_and_after(store):
    _, h, batch = made(store, "concat")
    types = GraphTypes(store.schema.modality_names, (), (), True)
    names = slot_names(types)
    assert names[:3] == ("m0", "m0__before", "m0__after")
    x, present = pool_slots(h, batch)
    assert x.shape == (12, 9, 8)
    for row in range(12):
        for s, mean in enumerate(slots_of(h, batch, row)):
            assert present[row, s] == (mean is not None)
            expected = torch.zeros(8, dtype=torch.double) if mean is None else mean
            torch.testing.assert_close(x[row, s], expected)
    assert present.any(0).all()
    assert not present.all(0).any()


@torch.no_grad()
def test_concat_is_one_linear_map_of_the_vectors_and_their_masks(store):
    trunk, h, batch = made(store, "concat")
    weight = torch.cat([m.weight for m in trunk.concat.maps.values()], 1)
    flags = torch.stack([m.bias for m in trunk.concat.maps.values()], 1)
    out = trunk(h, batch)
    for row in range(12):
        z = branch_vectors(trunk, h, batch, row)
        mask = torch.tensor([v is not None for v in z], dtype=torch.double)
        joined = torch.cat([torch.zeros(8, dtype=torch.double) if v is None else v for v in z])
        expected = trunk.concat.bias + weight @ joined + flags @ mask
        torch.testing.assert_close(out[row, 0], expected)


@torch.no_grad()
def test_early_joins_the_encoded_means_and_then_has_one_network(store):
    trunk, h, batch = made(store, "early")
    for row in range(12):
        x = trunk.concat.bias + sum(
            net(mean)
            for net, mean in zip(trunk.concat.maps.values(), slots_of(h, batch, row), strict=True)
            if mean is not None
        )
        for layer in trunk.net:
            x = x + torch.nn.functional.gelu(layer.norm(layer.linear(x)))
        torch.testing.assert_close(trunk(h, batch)[row, 0], x)


@torch.no_grad()
def test_average_is_the_mean_of_what_is_there(store):
    trunk, h, batch = made(store, "average")
    out, counts = trunk(h, batch), set()
    for row in range(12):
        z = [v for v in branch_vectors(trunk, h, batch, row) if v is not None]
        expected = torch.stack(z).mean(0) if z else trunk.empty
        torch.testing.assert_close(out[row, 0], expected)
        counts.add(len(z))
    assert len(counts) > 3


@torch.no_grad()
def test_weights_sum_to_one_over_what_is_there(store):
    for fusion in ("weighted", "gated"):
        trunk, h, batch = made(store, fusion)
        z, present = add_empty(trunk.empty, *trunk.branches(h, batch))
        weights = trunk.weights(present) if fusion == "weighted" else trunk.weights(z, present)
        torch.testing.assert_close(weights.sum(1), torch.ones(12, dtype=torch.double))
        assert (weights[~present] == 0).all()
        assert (weights[present] > 0).all()
        torch.testing.assert_close(trunk(h, batch)[:, 0], torch.einsum("bs,bsw->bw", weights, z))


@torch.no_grad()
def test_weighted_is_the_softmax_of_one_score_a_slot_and_gated_depends_on_the_input(store):
    trunk, h, batch = made(store, "weighted")
    _, present = trunk.branches(h, batch)
    for row in range(12):
        here = present[row]
        if here.any():
            found = trunk.weights(add_empty(trunk.empty, *trunk.branches(h, batch))[1])[row, :-1]
            torch.testing.assert_close(found[here], trunk.scores[here].softmax(0))
    trunk, h, batch = made(store, "gated")
    z, present = add_empty(trunk.empty, *trunk.branches(h, batch))
    for row, s in itertools.product(range(12), range(10)):
        if present[row, s]:
            score = [
                trunk.score.weight[0] @ (trunk.value(v).tanh() * trunk.gate(v).sigmoid())
                for v in z[row][present[row]]
            ]
            expected = torch.stack(score).softmax(0)
            torch.testing.assert_close(trunk.weights(z, present)[row][present[row]], expected)


def test_masked_softmax_gives_exact_zeros():
    present = torch.tensor([[True, False, True], [False, True, False]])
    weights = masked_softmax(torch.tensor([[1.0, 9.0, 1.0], [2.0, -3.0, 4.0]]), present)
    assert weights.tolist() == [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]


# -- products ---------------------------------------------------------------------------------


@pytest.mark.parametrize("modalities", [1, 2, 3, 4])
def test_tensor_fusion_is_the_outer_product(modalities):
    """Entry (i, j, k, ...) is the product of the entries of [1; z_m]."""
    z = torch.randn(5, modalities, 2, dtype=torch.double)
    ones = torch.cat([torch.ones(5, modalities, 1, dtype=torch.double), z], 2)
    found = outer_product(z).view(5, *[3] * modalities)
    for index in itertools.product(range(3), repeat=modalities):
        expected = torch.stack([ones[:, m, i] for m, i in enumerate(index)]).prod(0)
        torch.testing.assert_close(found[(slice(None), *index)], expected)


@torch.no_grad()
def test_an_absent_modality_leaves_the_product_of_the_others():
    """In the outer product with [1; 0], what is not 0 is the others' product, bit for bit."""
    z = torch.randn(3, 3, 2)
    z[:, 1] = 0
    found = outer_product(z).view(3, 3, 3, 3)
    others = outer_product(z[:, [0, 2]]).view(3, 3, 3)
    assert torch.equal(found[:, :, 0], others)
    assert not found[:, :, 1:].any()


def types_of(modalities):
    return GraphTypes(tuple(f"m{i}" for i in range(modalities)), ("t",), ())


def test_sizes_of_the_product_are_bounded_and_too_many_modalities_are_refused():
    for modalities in range(1, 8):
        for width in (4, 64):
            size = factor_size(modalities, width)
            assert (size + 1) ** modalities <= LARGEST
            assert size == width or (size + 2) ** modalities > LARGEST
    assert factor_size(3, 64) == 15
    with pytest.raises(UsageError, match=r"8 modalities needs .* 6,561 .* use the fusion low_rank"):
        TensorFusion(types_of(8), CONFIG)
    LowRankFusion(types_of(8), CONFIG)


@torch.no_grad()
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_low_rank_is_the_contraction_with_its_tensor(modalities):
    """W = sum_r w_r x [1; U_1^r] x ... x [1; U_M^r], one such tensor for each output."""
    torch.manual_seed(0)
    trunk = LowRankFusion(types_of(modalities), CONFIG, rank=3).double()
    z = torch.randn(5, modalities, 4, dtype=torch.double)
    maps = [net.weight.view(3, 4, 4) for net in trunk.maps.values()]  # [R, output, input]
    found = trunk.contract(z)
    for o in range(4):
        full = 0
        for r in range(3):
            term = trunk.weight[r, o].reshape(1)
            for u in maps:
                term = torch.outer(term, torch.cat([torch.ones(1), u[r, o]]).double()).flatten()
            full = full + term
        torch.testing.assert_close(found[:, o], outer_product(z) @ full + trunk.bias[o])


@torch.no_grad()
def test_low_rank_at_full_rank_is_any_tensor():
    """The vectors f_0 = e_0, f_i = e_0 + e_i are a basis with first entries 1, so their products
    span all tensors: a random linear map of the outer product is met exactly at rank 5 * 5."""
    torch.manual_seed(0)
    trunk = LowRankFusion(types_of(2), CONFIG, rank=25).double()
    wanted = torch.randn(4, 5, 5, dtype=torch.double)  # output, (1; z_0), (1; z_1)
    basis = torch.eye(5, dtype=torch.double)
    basis[:, 0] = 1
    inverse = torch.linalg.inv(basis)  # wanted = basis^T core basis
    core = inverse.T @ wanted @ inverse
    for m, net in enumerate(trunk.maps.values()):
        rows = [basis[pair[m], 1:] for pair in itertools.product(range(5), repeat=2)]
        net.weight.copy_(torch.stack(rows).unsqueeze(1).expand(-1, 4, -1).flatten(0, 1))
    trunk.weight.copy_(core.flatten(1).T)
    z = torch.randn(6, 2, 4, dtype=torch.double)
    expected = outer_product(z) @ wanted.flatten(1).T
    torch.testing.assert_close(trunk.contract(z), expected + trunk.bias)


@torch.no_grad()
def test_factors_sum_a_modalitys_slots(store):
    trunk, h, batch = made(store, "tensor")
    z, present = trunk.factors(h, batch)
    for row in range(12):
        vectors = branch_vectors(trunk.factors, h, batch, row)
        maps = list(trunk.factors.maps.values())
        for m in range(3):
            parts = [maps[s](vectors[s]) for s in range(3 * m, 3 * m + 3) if vectors[s] is not None]
            assert present[row, m] == bool(parts)
            expected = sum(parts) if parts else torch.zeros_like(z[row, m])
            torch.testing.assert_close(z[row, m], expected)


@torch.no_grad()
def test_bilinear_is_its_formula_over_the_pairs_that_are_there(store):
    trunk, h, batch = made(store, "bilinear")
    z, present = trunk.factors(h, batch)
    out, names = trunk(h, batch), ("m0", "m1", "m2")
    for row in range(12):
        here = [m for m in range(3) if present[row, m]]
        expected = trunk.bias.clone()
        for m in here:
            expected += trunk.linear[names[m]].weight @ z[row, m]
        for m, n in itertools.combinations(here, 2):
            a = (trunk.enter[names[m]].weight @ z[row, m]).tanh()
            b = (trunk.enter[names[n]].weight @ z[row, n]).tanh()
            expected += trunk.product[f"{names[m]}__{names[n]}"].weight @ (a * b)
        torch.testing.assert_close(out[row, 0], expected)


# -- late -------------------------------------------------------------------------------------


@torch.no_grad()
def test_late_begins_as_the_mean_of_each_modalitys_predictions(store):
    network = make_network(store, fusion="late").double()
    for scores in network.fusion.scores.values():
        scores.zero_()
    _, h, batch = made(store, "late")
    out = network.fusion.read(h, batch, network.heads)
    for row in range(12):
        z = [v for v in branch_vectors(network.fusion, h, batch, row) if v is not None]
        for task, head in network.heads.items():
            each = [head(v[None])[0] for v in z] or [head(network.fusion.empty[None])[0]]
            torch.testing.assert_close(out[task][row], torch.stack(each).mean(0))


@torch.no_grad()
def test_late_weighs_modalities_per_task(store):
    trunk, h, batch = made(store, "late")
    heads = make_network(store, fusion="late").double().heads
    z, present = add_empty(trunk.empty, *trunk.branches(h, batch))
    out = trunk.read(h, batch, heads)
    for task in batch.tasks:
        weights = trunk.weights(task, present)
        torch.testing.assert_close(weights.sum(1), torch.ones(12, dtype=torch.double))
        expected = torch.einsum("bs,bsk->bk", weights, by_slot(heads[task], z))
        torch.testing.assert_close(out[task], expected)
    a, b = (trunk.weights(task, present) for task in batch.tasks[:2])
    assert not torch.allclose(a, b)
