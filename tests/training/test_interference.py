"""Cosine and size of the gradients of pairs of tasks, against their definition."""

import pytest
import torch

from gnnfusion.training.interference import Interference


def products(*gradients):
    """Products of gradients ``[T, T]``; None is a task that is absent."""
    matrix = torch.tensor([g or [float("nan")] * 2 for g in gradients], dtype=torch.float64)
    return matrix @ matrix.T


def test_cosine_and_size_are_means_over_the_steps_with_both():
    found = Interference(("a", "b", "c"))
    found.add(products([3.0, 0.0], [-1.0, 0.0], [0.0, 2.0]))
    found.add(products([3.0, 0.0], [1.0, 0.0], None))
    ab, ac, bc = found.rows(7)
    assert (ab["epoch"], ab["task_a"], ab["task_b"], ab["steps"]) == (7, "a", "b", 2)
    assert ab["cosine"] == pytest.approx(0.0)  # once against, once along
    assert ab["conflict"] == 0.5
    assert ab["magnitude_similarity"] == pytest.approx(2 * 3 * 1 / (9 + 1))
    assert (ab["norm_a"], ab["norm_b"]) == (3.0, 1.0)
    for row in (ac, bc):
        assert row["steps"] == 1
        assert row["cosine"] == row["conflict"] == 0.0
        assert row["norm_b"] == 2.0
    found.clear()
    assert found.rows(8) == []


def test_a_task_without_a_gradient_is_in_no_pair():
    found = Interference(("a", "b"))
    found.add(products([1.0, 2.0], [0.0, 0.0]))
    found.add(products([1.0, 2.0], None))
    assert found.rows(0) == []
