"""With torch-scatter installed, PyG takes it for its reductions; results must not change."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch_geometric.utils import scatter, softmax

pytestmark = [
    pytest.mark.scatter,
    pytest.mark.skipif(find_spec("torch_scatter") is None, reason="needs the [scatter] extra"),
]


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
def test_reductions_equal_plain_torch(reduce: str) -> None:
    import torch_scatter

    generator = torch.Generator().manual_seed(0)
    values = torch.randn(200, 8, generator=generator)
    index = torch.randint(0, 30, (200,), generator=generator)
    ours = torch_scatter.scatter(values, index, 0, dim_size=30, reduce=reduce)
    plain = torch.zeros(30, 8).scatter_reduce(
        0,
        index[:, None].expand(-1, 8),
        values,
        {"sum": "sum", "mean": "mean", "max": "amax", "min": "amin"}[reduce],
        include_self=False,
    )
    assert torch.allclose(ours, plain, atol=1e-6)
    assert torch.allclose(scatter(values, index, 0, 30, reduce=reduce), plain, atol=1e-6)


def test_attention_is_normalized_within_each_target() -> None:
    import torch_scatter

    index = torch.tensor([0, 0, 1, 1, 1, 3])
    weights = softmax(torch.randn(6), index, num_nodes=4)
    sums = torch_scatter.scatter(weights, index, 0, dim_size=4, reduce="sum")
    assert torch.allclose(sums, torch.tensor([1.0, 1.0, 0.0, 1.0]))
