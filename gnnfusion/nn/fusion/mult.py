"""Cross-modal attention between every ordered pair of modalities, in the manner of MulT."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion.attention import Block
from gnnfusion.nn.fusion.padding import pad
from gnnfusion.nn.fusion.pooling import Concat, pool_slots
from gnnfusion.nn.fusion.trunk import GraphTypes, Trunk, to_all_tasks


class MulTFusion(Trunk):
    r"""Multimodal Transformer after `arXiv:1906.00295 <https://arxiv.org/abs/1906.00295>`_.

    .. math:: Z_{\beta \to \alpha} = \mathrm{CrossBlocks}_{\beta\alpha}(H_\alpha; H_\beta), \qquad
              Z_\alpha = \mathrm{Blocks}_\alpha\Bigl(H_\alpha
              + \sum_{\beta\ \mathrm{present}} (W_{\beta\alpha} Z_{\beta \to \alpha}
              + b_{\beta\alpha})\Bigr)

    where queries are the nodes of :math:`\alpha`, keys and values those of :math:`\beta`. Then the
    mean of every slot, concatenated. A source that a sample lacks is skipped; a sample with one
    modality is read from that one (the paper, where all are there, does without :math:`H_\alpha`).
    """

    def __init__(self, types: GraphTypes, config: NetworkConfig) -> None:
        super().__init__()

        def blocks() -> nn.ModuleList:
            return nn.ModuleList(
                Block(config.width, config.heads, config.dropout) for _ in range(config.layers)
            )

        pairs = list(permutations(types.modalities, 2))
        self.cross = nn.ModuleDict({f"{a}__{b}": blocks() for a, b in pairs})
        self.project = nn.ModuleDict(
            {f"{a}__{b}": nn.Linear(config.width, config.width) for a, b in pairs}
        )
        self.own = nn.ModuleDict({name: blocks() for name in types.modalities})
        self.concat = Concat(types, config.width)

    def forward(self, h: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        rows = {m: pad(h[m], batch.node_sample(m), len(batch)) for m in batch.nodes}
        out = {}
        for target, own in rows.items():
            x = own.x
            for source, other in rows.items():
                if source != target:
                    some = other.present.any(1)[:, None, None]
                    crossed = self._crossed(f"{source}__{target}", own.x, other.present, other.x)
                    x = x + torch.where(some, crossed, crossed.new_zeros(()))
            for block in self.own[target]:  # type: ignore[attr-defined]
                x = block(x, own.present)
            out[target] = own.nodes(x)
        return to_all_tasks(self.concat(*pool_slots(out, batch)), batch)

    def _crossed(self, pair: str, x: Tensor, present: Tensor, memory: Tensor) -> Tensor:
        for block in self.cross[pair]:  # type: ignore[attr-defined]
            x = block(x, present, memory)
        return self.project[pair](x)  # type: ignore[no-any-return]


def make(types: GraphTypes, config: NetworkConfig) -> MulTFusion:
    """A `MulTFusion`."""
    return MulTFusion(types, config)
