"""Private subspaces: one trunk whose features are split into a shared part and one per task."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.trunk import GraphTypes
from gnnfusion.nn.sharing.reader import Architecture, Reader, read_once

PRICE = 0.1  # of private features that are all shared ones, in units of the training loss


def overlap(a: Tensor, b: Tensor) -> Tensor:
    r"""How much of the directions b ``[q, width]`` lies along the directions a ``[p, width]``.

    .. math:: \frac{1}{q} \sum_{ij} \cos^2(a_i, b_j)

    0 if and only if the two are orthogonal; 1 for b within the span of an orthogonal a.
    """
    a, b = nn.functional.normalize(a, dim=1), nn.functional.normalize(b, dim=1)
    return (a @ b.T).square().sum() / max(1, len(b))


class PrivateSubspaces(Architecture):
    r"""Feature isolation in the manner of domain separation networks (`arXiv:1608.06019
    <https://arxiv.org/abs/1608.06019>`_).

    .. math:: y_t = [S z; P_t z], \qquad z = f(h), \qquad
              \text{penalty} = \frac{\lambda}{T} \sum_t \mathrm{overlap}(S, P_t)

    with f the one trunk, S and :math:`P_t` linear, each to one half of the width, so that what is
    private to a task can be orthogonal to what all share. The paper has an encoder for each and
    compares their features over a batch; here it is the maps that are compared (`overlap`), so that
    the loss of a sample, too, is its own.
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()
        private = config.width // 2
        self.reader = Reader(types, config)
        self.shared = nn.Linear(config.width, config.width - private)
        self.private = nn.ModuleDict({t: nn.Linear(config.width, private) for t in types.tasks})

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        z = self.reader(h, read_once(batch))
        shared = self.shared(z)
        return torch.stack(
            [torch.cat([shared, self.private[t](z)], 1) for t in batch.tasks], 1
        )  # fmt: skip

    def penalty(self) -> Tensor | float:
        parts = [overlap(self.shared.weight, own.weight) for own in self.private.values()]  # type: ignore[arg-type]
        return super().penalty() + PRICE * torch.stack(parts).mean()


def make(types: GraphTypes, config: NetworkConfig) -> PrivateSubspaces:
    """`PrivateSubspaces`."""
    return PrivateSubspaces(types, config)
