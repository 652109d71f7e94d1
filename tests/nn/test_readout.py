import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_stores import make_network, make_store

from gnnfusion.nn.readout import Head, LabelEmbedding


def head(kind, size, seed=0):
    torch.manual_seed(seed)
    made = Head(kind, size, 6, 0.0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter))
    return made


@given(st.integers(2, 8), st.integers(0, 10**6))
@settings(max_examples=50)
def test_ordinal_probabilities_are_a_distribution(classes, seed):
    """P(y > k) falls in k whatever the weights, so all class shares are >= 0 and sum to 1."""
    made = head("ordinal", classes, seed)
    out = made(10 * torch.randn(20, 6))
    assert out.shape == (20, classes - 1)
    assert (out.diff(dim=1) <= 0).all()
    p = made.probabilities(out)
    assert p.shape == (20, classes)
    assert (p >= 0).all()
    torch.testing.assert_close(p.sum(1), torch.ones(20))
    torch.testing.assert_close(1 - p.cumsum(1)[:, :-1], out.sigmoid(), rtol=1e-5, atol=1e-5)


@given(st.integers(2, 6), st.integers(0, 10**6))
@settings(max_examples=30)
def test_the_ordinal_prediction_is_the_median(classes, seed):
    """The class with the least expected distance in steps."""
    made = head("ordinal", classes, seed)
    out = made(torch.randn(20, 6)).double()
    p = made.probabilities(out)
    steps = torch.arange(classes)
    cost = p @ (steps.unsqueeze(0) - steps.unsqueeze(1)).abs().double()
    best = cost.gather(1, made.predict(out).unsqueeze(1)).squeeze(1)
    assert (best <= cost.min(1).values + 1e-9).all()


@pytest.mark.parametrize(("kind", "size"), [("binary", 2), ("multiclass", 5), ("ordinal", 2)])
def test_class_probabilities_sum_to_one(kind, size):
    made = head(kind, size)
    out = made(torch.randn(10, 6))
    p = made.probabilities(out)
    assert p.shape == (10, size)
    torch.testing.assert_close(p.sum(1), torch.ones(10))
    assert torch.equal(made.predict(out), p.argmax(1))


def test_binary_is_the_sigmoid_of_its_logit():
    made = head("binary", 2)
    out = made(torch.randn(10, 6))
    torch.testing.assert_close(made.probabilities(out)[:, 1], out[:, 0].sigmoid())


def test_multilabel_labels_are_independent():
    made = head("multilabel", 3)
    out = made(torch.randn(10, 6))
    torch.testing.assert_close(made.probabilities(out), out.sigmoid())
    assert torch.equal(made.predict(out), (made.probabilities(out) > 0.5).long())


def test_regression_undoes_its_standardization():
    made = head("regression", 2)
    y = torch.tensor([[1.0, 7.0], [3.0, 7.0], [8.0, 7.0]])
    made.fit(y)
    torch.testing.assert_close(made.mean, torch.tensor([4.0, 7.0]))
    assert made.std[1] == 1  # a constant column is left at its mean
    standard = (y - made.mean) / made.std
    torch.testing.assert_close(made.predict(standard), y)
    torch.testing.assert_close(standard[:, 0].square().mean(), torch.tensor(1.0))
    made.fit(torch.zeros(0, 2))
    torch.testing.assert_close(made.mean, torch.tensor([4.0, 7.0]))


def test_large_targets_are_standardized_in_double():
    made = head("regression", 1)
    y = 1e8 + torch.arange(16.0).unsqueeze(1) * 8
    made.fit(y)
    torch.testing.assert_close(made.std, y.double().std(0, correction=0).float())


@pytest.mark.parametrize("kind", ["binary", "multiclass", "ordinal", "multilabel", "regression"])
def test_different_labels_have_different_embeddings(kind):
    torch.manual_seed(0)
    embed, made = LabelEmbedding(kind, 3, 6), head(kind, 3)
    wide = kind in ("multilabel", "regression")
    a, b = (torch.ones(1, 3), torch.zeros(1, 3)) if wide else (torch.tensor([1]), torch.tensor([0]))
    out = embed(torch.cat([a, b, a]), made)
    assert out.shape == (3, 6)
    assert torch.equal(out[0], out[2])
    assert not torch.allclose(out[0], out[1])


def test_statistics_come_from_the_rows_named():
    store = make_store(("vector",), ("regression",), samples=20, missing=0.0, unlabelled=0.3)
    network = make_network(store, fit=False)
    rows = torch.arange(10)
    network.fit_statistics(store, rows)
    y = store.target("t0")[rows][store.mask("t0")[rows]]
    torch.testing.assert_close(network.head("t0").mean, y.mean(0))
    ptr = store.nodes("m0").ptr
    x = store.nodes("m0").x[: ptr[10]]
    torch.testing.assert_close(network.encoders["m0"].standardize.mean, x.mean(0))
    torch.testing.assert_close(network.encoders["m0"].standardize.std, x.std(0, correction=0))
