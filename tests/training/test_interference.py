"""Cosine and size of the gradients of pairs of tasks, against their definition."""

import pytest
import torch
from torch import nn

from gnnfusion.training.balancing.balancer import Split
from gnnfusion.training.interference import Interference


def losses_with(matrix):
    shared = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(matrix.shape[1] - 1))]
    return matrix @ torch.cat(shared), Split(shared)


def test_cosine_and_size_are_means_over_the_steps_with_both():
    found = Interference(("a", "b", "c"))
    everyone = torch.ones(3, dtype=torch.bool)
    right, left = torch.tensor([3.0, 0.0]), torch.tensor([-1.0, 0.0])
    losses, split = losses_with(torch.stack([right, left, torch.tensor([0.0, 2.0])]))
    found.add(losses, everyone, split)
    losses, split = losses_with(torch.stack([right, -left, torch.tensor([0.0, 4.0])]))
    found.add(losses, torch.tensor([True, True, False]), split)
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
    losses, split = losses_with(torch.tensor([[1.0, 2.0], [0.0, 0.0]]))
    found.add(losses, torch.tensor([True, True]), split)
    assert found.rows(0) == []
    losses, split = losses_with(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    found.add(losses, torch.tensor([True, False]), split)
    assert found.rows(0) == []
