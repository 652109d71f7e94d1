"""The whole network: encoders, positions, task nodes with known labels, trunks, heads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gnnfusion.features.nodes import NodeSpec
from gnnfusion.graphs.batch import GraphBatch, make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.topology import TASK, EdgeType, Topology
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.encoders import make_encoder
from gnnfusion.nn.encoders.position import PositionEncoding
from gnnfusion.nn.encoders.selection import selection_penalty
from gnnfusion.nn.encoders.text_model import TextModelEncoder
from gnnfusion.nn.fusion.trunk import GraphTypes, Heads
from gnnfusion.nn.readout import Head, LabelEmbedding
from gnnfusion.nn.reuse import is_reusing, reused
from gnnfusion.nn.sharing import check_labels, make_sharing, sharing_name
from gnnfusion.schema import Schema

RELATES: EdgeType = (TASK, "relates", TASK)


class FusionNetwork(nn.Module):
    """Sample graphs in, outputs per task out: all that training and prediction know of a network.

    Parameters
    ----------
    schema
        Modalities, tasks and context.
    config
        Fusion, sharing and sizes.
    """

    def __init__(self, schema: Schema, config: NetworkConfig) -> None:
        super().__init__()
        self.schema, self.config = schema, config
        self.reads_labels = sharing_name(config) == "task_nodes"

    def fit_statistics(self, store: GraphStore, rows: Tensor) -> None:
        """Take means and spreads of node features and regression targets from training rows."""
        self.fit_to(make_batch(store, rows, Topology([])))

    def fit_to(self, batch: GraphBatch) -> None:
        """The same from a batch of all training rows; no edge is needed."""
        raise NotImplementedError

    def encode_modalities(self, batch: GraphBatch) -> Mapping[str, Any]:
        """What the encoders make of the batch, which no label and no edge changes."""
        raise NotImplementedError

    def forward(
        self,
        batch: GraphBatch,
        shown: Tensor | None = None,
        encoded: Mapping[str, Any] | None = None,
        tasks: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Outputs per task (see `Head`), from the batch and the labels that are shown.

        Parameters
        ----------
        batch
            Sample graphs.
        shown
            Which labels the task nodes carry, bool ``[B, T]``; none by default. A hidden label is
            not read at all.
        encoded
            What `encode_modalities` gave for this batch, where it is read several times.
        tasks
            Whose outputs are wanted; all by default.

        Raises
        ------
        UsageError
            Labels are shown, and there are no task nodes to carry them.
        """
        raise NotImplementedError

    def head(self, task: str) -> Head:
        """The readout head of a task."""
        raise NotImplementedError

    def encoder_parameters(self, modality: str) -> list[nn.Parameter]:
        """What turns a modality's nodes into vectors: encoder, positions, entrance."""
        raise NotImplementedError

    def penalty(self) -> Tensor | float:
        """What the network itself adds to the training loss."""
        raise NotImplementedError

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of pretrained models within encoders, which are trained further."""
        models = [m.pretrained for m in self.modules() if isinstance(m, TextModelEncoder)]
        return [p for model in models for p in model.parameters() if p.requires_grad]


class SharedNetwork(FusionNetwork):
    """Encoders that all tasks share, an architecture of trunks over them, and a head per task.

    Parameters
    ----------
    schema
        Modalities, tasks and context.
    specs
        Layout of each modality's nodes.
    states
        What each modality's extractor was fitted to.
    sizes
        Per task its number of classes or of regression columns.
    relations
        Edge types of the topology.
    config
        Fusion, sharing and sizes.
    """

    def __init__(
        self,
        schema: Schema,
        specs: Mapping[str, NodeSpec],
        states: Mapping[str, Mapping[str, Any]],
        sizes: Mapping[str, int],
        relations: tuple[EdgeType, ...],
        config: NetworkConfig,
    ) -> None:
        super().__init__(schema, config)
        width = config.width
        self.encoders = nn.ModuleDict(
            {
                m.name: make_encoder(m, specs[m.name], states[m.name], width, config.dropout)
                for m in schema.modalities
            }
        )
        self.positions = nn.ModuleDict(
            {name: PositionEncoding(len(specs[name].position), width)
             for name in schema.modality_names if specs[name].position}
        )  # fmt: skip
        if schema.context is not None:
            reach = schema.context.before + schema.context.after + 1
            self.offsets = nn.ModuleDict(
                {name: nn.Embedding(reach, width) for name in schema.modality_names}
            )
            for embedding in self.offsets.values():
                nn.init.zeros_(embedding.weight)  # type: ignore[arg-type]
        self.enter = nn.ModuleDict({name: nn.LayerNorm(width) for name in schema.modality_names})
        self.dropout = nn.Dropout(config.dropout)
        if self.reads_labels:
            self.task_embedding = nn.ParameterDict(
                {t: nn.Parameter(torch.randn(width) * 0.5) for t in schema.task_names}
            )
            self.labels = nn.ModuleDict(
                {t.name: LabelEmbedding(t.kind, sizes[t.name], width) for t in schema.tasks}
            )
        types = GraphTypes(
            schema.modality_names, schema.task_names, relations, schema.context is not None
        )
        self.fusion = make_sharing(types, config)
        self.heads = nn.ModuleDict(
            {t.name: Head(t.kind, sizes[t.name], width, config.dropout) for t in schema.tasks}
        )

    @torch.no_grad()
    def fit_to(self, batch: GraphBatch) -> None:
        for name, nodes in batch.nodes.items():
            self.encoders[name].fit(nodes)  # type: ignore[operator]
        for place, task in enumerate(batch.tasks):
            self.head(task).fit(batch.targets[task][batch.masks[:, place]])

    def encode_modalities(self, batch: GraphBatch) -> dict[str, Tensor]:
        """Node features before fusion, by modality ``[n, width]``."""
        h: dict[str, Tensor] = {}
        for name, nodes in batch.nodes.items():
            x: Tensor = self.encoders[name](nodes)
            if name in self.positions:
                x = x + self.positions[name](nodes.pos)
            if self.schema.context is not None:
                offset = batch.node_offset(name) + self.schema.context.before
                x = x + self.offsets[name](offset)
            h[name] = self.dropout(self.enter[name](x))
        return h

    def encode(
        self,
        batch: GraphBatch,
        shown: Tensor | None = None,
        encoded: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Node features before fusion, by type ``[n, width]``; with task nodes if they are read."""
        h = dict(self.encode_modalities(batch) if encoded is None else encoded)
        if shown is not None:
            check_labels(self.config)
        if self.reads_labels:
            h[TASK] = self._task_nodes(batch, shown)
        return h

    def _task_nodes(self, batch: GraphBatch, shown: Tensor | None) -> Tensor:
        """Task nodes ``[B * T, width]``, with the labels that are shown."""
        columns = []
        # Training does not wait for the GPU to tell what it has no use for.
        patterns = shown.T.cpu().numpy() if shown is not None and is_reusing() else None
        for place, task in enumerate(batch.tasks):
            seen = None if shown is None else shown[:, place]
            step = (self, task, None if patterns is None else patterns[place].tobytes())
            column = partial(self._task_column, task, batch, seen)
            columns.append(reused(step, (batch.rows, batch.targets[task]), column))
        return reused((self, TASK), tuple(columns), lambda: torch.stack(columns, 1).flatten(0, 1))

    def _task_column(self, task: str, batch: GraphBatch, shown: Tensor | None) -> Tensor:
        """A task's nodes ``[B, width]``, with the labels that are shown (bool ``[B]``)."""
        nodes = self.task_embedding[task].expand(len(batch), -1)
        if shown is None:
            return nodes
        visible = shown.nonzero().squeeze(1)
        label = self.labels[task](batch.targets[task][visible], self.heads[task])
        return nodes.index_add(0, visible, label.to(nodes.dtype))

    def forward(
        self,
        batch: GraphBatch,
        shown: Tensor | None = None,
        encoded: Mapping[str, Any] | None = None,
        tasks: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        heads: Heads = self.heads if tasks is None else {t: self.heads[t] for t in tasks}
        return self.fusion.read(self.encode(batch, shown, encoded), batch, heads)

    def head(self, task: str) -> Head:
        head = self.heads[task]
        assert isinstance(head, Head)
        return head

    def encoder_parameters(self, modality: str) -> list[nn.Parameter]:
        parts = [self.encoders, self.positions, self.enter]
        if self.schema.context is not None:
            parts.append(self.offsets)
        return [p for part in parts if modality in part for p in part[modality].parameters()]

    def penalty(self) -> Tensor | float:
        return self.fusion.penalty() + selection_penalty(self.encoders)


def network_for(store: GraphStore, config: NetworkConfig) -> FusionNetwork:
    """A new network that fits a store; its statistics are not fitted yet."""
    schema = store.schema
    specs = {name: store.spec(name) for name in schema.modality_names}
    states = {name: store.meta["modalities"][name]["state"] for name in schema.modality_names}
    sizes = {
        t.name: len(t.columns) if t.kind == "regression" else len(store.classes(t.name))
        for t in schema.tasks
    }
    relations = topology_of(store).types(
        specs, len(schema.tasks), schema.context is not None, store.given_types
    )

    def shared(own: Schema, config: NetworkConfig) -> SharedNetwork:
        # A task that is apart from the others relates to none.
        apart = len(own.tasks) == 1 < len(schema.tasks)
        kept = tuple(r for r in relations if not apart or r != RELATES)
        return SharedNetwork(own, specs, states, sizes, kept, config)

    if sharing_name(config) == "single":
        from gnnfusion.nn.sharing import single  # not at the top: it is made of networks

        return single.make(schema, config, shared)
    if config.groups:
        from gnnfusion.nn.sharing import grouped

        return grouped.make(schema, config, shared)
    return shared(schema, config)
