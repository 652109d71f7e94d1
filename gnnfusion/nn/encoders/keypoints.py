"""Pooling of a feature map to places and extents, one per channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Keypoints(nn.Module):
    r"""Where each channel looks: ``[n, C, H, W]`` to ``[n, 5 C]``.

    .. math:: a_c = \mathrm{softmax}_{p}(\beta_c f_c(p)), \quad
              \mu_c = \sum_p a_c(p)\, p, \quad
              \sigma_c = \sqrt{\textstyle\sum_p a_c(p) (p - \mu_c)^2}

    over places p in [-1, 1]\ :sup:`2`; the output holds the mean of :math:`f_c`, both coordinates
    of :math:`\mu_c` and both of :math:`\sigma_c`: what is there, where, and how large (the spatial
    softmax of Levine et al., `arXiv:1504.00702 <https://arxiv.org/abs/1504.00702>`_, with spreads
    beside it).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        weight = (x * self.sharpness).flatten(2).softmax(2).unflatten(2, x.shape[2:])
        parts = [x.mean((2, 3))]
        for axis in (2, 3):
            place = torch.linspace(-1, 1, x.shape[axis], device=x.device, dtype=x.dtype)
            share = weight.sum(5 - axis)  # over the other axis: [n, C, H or W]
            mean = share @ place
            spread = (share * (place - mean.unsqueeze(2)).square()).sum(2)
            parts += [mean, (spread + 1e-6).sqrt()]
        return torch.cat(parts, 1)
