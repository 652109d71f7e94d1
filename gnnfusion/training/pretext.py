r"""Self-supervised tasks that every row can serve, with labels or without: an additional loss.

Some of a sample is hidden, and what is left must tell what it was, through the same encoders and
trunk that the tasks read; the heads are all that only labels train. What is told is told by the
mean over tasks of the sample's vectors, which every fusion and every sharing has.

============  ==================================================================================
masked        some nodes are hidden; what each holds, from the sample and the node's position
reconstruct   a modality is hidden; what its nodes hold in the mean, from the other modalities
contrastive   a sample's modalities are dealt into two hands, which find each other among those
              of the batch (InfoNCE, `arXiv:1807.03748 <https://arxiv.org/abs/1807.03748>`_)
============  ==================================================================================

*What a node holds* is what its encoder made of it before training, standardized on the training
rows: a random summary that is the same kind of vector for a word, a picture and a table's cell.
Being fixed, it cannot collapse to a constant as the encoding that is trained could.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from gnnfusion.graphs.batch import GraphBatch, make_batch, topology_of
from gnnfusion.graphs.index import pointers
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.topology import NodeLayout, Topology
from gnnfusion.nn.fusion.pooling import pool_slots
from gnnfusion.nn.network import FusionNetwork, SharedNetwork

SHARE = 0.3  # of the nodes, hidden in a step
TEMPERATURE = 0.1
ROWS = 256  # in memory at once when targets are standardized


class Targets(nn.Module):
    """What nodes hold: their encoders before training, standardized on the training rows.

    Parameters
    ----------
    body
        With its statistics fitted.
    store, rows
        Training rows.
    """

    def __init__(self, body: SharedNetwork, store: GraphStore, rows: Tensor) -> None:
        super().__init__()
        self.encoders = copy.deepcopy(body.encoders).requires_grad_(False)
        width = body.config.width
        for name in self.encoders:
            self.register_buffer(f"mean_{name}", torch.zeros(width))
            self.register_buffer(f"std_{name}", torch.ones(width))
        found: dict[str, list[Tensor]] = {name: [] for name in self.encoders}
        for part in rows.split(ROWS):
            batch = make_batch(store, part, Topology([]))
            for name in found:
                found[name].append(self(name, batch.nodes[name]))
        for name, parts in found.items():
            raw = torch.cat(parts)
            if len(raw):
                std = raw.std(0, correction=0)
                getattr(self, f"mean_{name}").copy_(raw.mean(0))
                getattr(self, f"std_{name}").copy_(torch.where(std > 1e-6, std, 1.0))

    @torch.no_grad()
    def forward(self, name: str, nodes: NodeLayout) -> Tensor:
        """Of a modality's nodes, ``[n, width]``."""
        raw: Tensor = self.encoders[name].eval()(nodes)
        found: Tensor = (raw - getattr(self, f"mean_{name}")) / getattr(self, f"std_{name}")
        return found


class Pretext(nn.Module):
    """Base of the three; `forward` gives the loss of a batch, 0 where it has nothing to offer.

    Parameters
    ----------
    body
        Encoders and a trunk, with their statistics fitted; not trained yet.
    store, rows
        Training rows.
    """

    def __init__(self, body: SharedNetwork, store: GraphStore, rows: Tensor) -> None:
        super().__init__()
        self.store, self.topology = store, topology_of(store)
        self.names, self.tasks = body.schema.modality_names, body.schema.task_names

    def forward(self, body: SharedNetwork, batch: GraphBatch) -> Tensor:
        raise NotImplementedError

    def without(self, rows: Tensor, gone: Tensor, like: Tensor) -> GraphBatch:
        """The samples ``[k]`` without the modalities ``[k, M]``, wired anew."""
        batch = make_batch(self.store, rows, self.topology, gone).only(*self.tasks)
        return batch.to(like.device)


class Masked(Pretext):
    """Half the mean squared error of what hidden nodes hold, mean over modalities."""

    def __init__(self, body: SharedNetwork, store: GraphStore, rows: Tensor) -> None:
        super().__init__(body, store, rows)
        width = body.config.width
        self.targets = Targets(body, store, rows)
        self.masks = nn.ParameterDict({n: nn.Parameter(torch.zeros(width)) for n in self.names})
        self.predictors = nn.ModuleDict({n: predictor(2 * width, width) for n in self.names})

    def forward(self, body: SharedNetwork, batch: GraphBatch) -> Tensor:
        hidden = {
            name: (torch.rand(len(nodes.x)).to(nodes.x.device) < SHARE)
            & (batch.node_offset(name) == 0)
            for name, nodes in batch.nodes.items()
        }
        # Hidden before the encoders, which may tell the nodes of a sequence of each other.
        left = {name: kept_nodes(nodes, ~hidden[name]) for name, nodes in batch.nodes.items()}
        h = body.encode(replace(batch, nodes=left))
        places = {}
        for name, nodes in batch.nodes.items():
            place = self.masks[name].expand(len(nodes.x), -1)
            if name in body.positions:
                place = place + body.positions[name](nodes.pos)
            places[name] = place
            blank = body.enter[name](place)
            seen = (~hidden[name]).nonzero().squeeze(1)
            h[name] = blank.index_copy(0, seen, h[name].to(blank.dtype))
        x = vectors(body, h, batch)
        errors = []
        for name, nodes in batch.nodes.items():
            gone = hidden[name]
            asked = torch.cat([x[batch.node_sample(name)[gone]], places[name][gone]], 1)
            goal = self.targets(name, nodes)[gone]
            errors.append(squared_error(self.predictors[name](asked), goal))
        return mean_of(errors, x)


class Reconstruct(Pretext):
    """The same of the mean node of a hidden modality; one, drawn evenly, of each sample."""

    def __init__(self, body: SharedNetwork, store: GraphStore, rows: Tensor) -> None:
        super().__init__(body, store, rows)
        width = body.config.width
        self.targets = Targets(body, store, rows)
        self.predictors = nn.ModuleDict({n: predictor(width, width) for n in self.names})

    def forward(self, body: SharedNetwork, batch: GraphBatch) -> Tensor:
        present = batch.present().cpu()
        able = present.sum(1) > 1
        pick = draw_one(present)
        gone = nn.functional.one_hot(pick, present.shape[1]).bool()
        left = self.without(batch.rows.cpu(), ~present | (gone & able.unsqueeze(1)), batch.rows)
        x = vectors(body, body.encode(left), left)
        held = {name: self.targets(name, nodes) for name, nodes in batch.nodes.items()}
        goals = own_means(held, batch)
        errors = []
        for m, name in enumerate(self.names):
            rows = (able & (pick == m)).nonzero().squeeze(1).to(x.device)
            errors.append(squared_error(self.predictors[name](x[rows]), goals[rows, m]))
        return mean_of(errors, x)


class Contrastive(Pretext):
    r"""Of the k samples with two modalities or more, dealt into :math:`a_i` and :math:`b_i`,

    .. math:: -\frac{1}{2k} \sum_i \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}}
              + \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ji}}}, \qquad
              s_{ij} = \cos(P a_i, P b_j) / \tau

    Samples meet in the loss alone.
    """

    def __init__(self, body: SharedNetwork, store: GraphStore, rows: Tensor) -> None:
        super().__init__(body, store, rows)
        self.project = predictor(body.config.width, body.config.width)

    def forward(self, body: SharedNetwork, batch: GraphBatch) -> Tensor:
        present = batch.present().cpu()
        able = present.sum(1) > 1
        present, rows = present[able], batch.rows.cpu()[able]
        hand = deal(present)
        a, b = (
            vectors(body, body.encode(half), half)
            for half in (self.without(rows, ~(present & h), batch.rows) for h in (hand, ~hand))
        )
        if len(rows) < 2:
            return mean_of([], a)
        return info_nce(self.project(a), self.project(b))


PRETEXTS: dict[str, type[Pretext]] = {
    "masked": Masked,
    "reconstruct": Reconstruct,
    "contrastive": Contrastive,
}


class PretextLoss(nn.Module):
    """The pretext of each set of encoders in a network; tasks that share none have one each.

    Parameters
    ----------
    name
        In `PRETEXTS`.
    network
        With its statistics fitted; not trained yet.
    store, rows
        Training rows.
    """

    def __init__(self, name: str, network: FusionNetwork, store: GraphStore, rows: Tensor) -> None:
        super().__init__()
        self.parts = nn.ModuleList(PRETEXTS[name](b, store, rows) for b in bodies(network))

    def forward(self, network: FusionNetwork, batch: GraphBatch) -> Tensor:
        """Mean loss of a batch, whose labels are not read."""
        found = zip(self.parts, bodies(network), strict=True)
        # Networks side by side have some of the tasks each.
        losses = [part(body, batch.only(*body.schema.task_names)) for part, body in found]
        return torch.stack(losses).mean()


def bodies(network: FusionNetwork) -> list[SharedNetwork]:
    """The networks with encoders of their own that a network is made of."""
    return [m for m in network.modules() if isinstance(m, SharedNetwork)]


def vectors(body: SharedNetwork, h: dict[str, Tensor], batch: GraphBatch) -> Tensor:
    """What the trunk makes of encoded nodes, mean over its tasks, ``[B, width]``."""
    out: Tensor = body.fusion(h, batch)
    return out.mean(1)


def predictor(size: int, width: int) -> nn.Sequential:
    """A perceptron ``[k, size]`` to ``[k, width]``."""
    return nn.Sequential(nn.Linear(size, width), nn.GELU(), nn.Linear(width, width))


def draw_one(present: Tensor) -> Tensor:
    """One of the modalities that each sample has, drawn evenly, ``[B]``; bool ``[B, M]``."""
    return torch.rand(present.shape).masked_fill(~present, -1).argmax(1)


def deal(present: Tensor) -> Tensor:
    """Which modalities go into the first hand, bool ``[B, M]``; each hand gets one of at least two.

    The others go either way with equal chance.
    """
    one = nn.functional.one_hot(draw_one(present), present.shape[1]).bool()
    other = nn.functional.one_hot(draw_one(present & ~one), present.shape[1]).bool()
    return one | ((torch.rand(present.shape) < 0.5) & ~other)


def own_means(h: dict[str, Tensor], batch: GraphBatch) -> Tensor:
    """Mean of each modality's own nodes, without those of context rows, ``[B, M, width]``."""
    return pool_slots(h, batch)[0][:, :: 3 if batch.has_context else 1]


def kept_nodes(nodes: NodeLayout, kept: Tensor) -> NodeLayout:
    """The nodes without some of them; units keep their places."""
    unit = nodes.unit[kept]
    counts = torch.bincount(unit, minlength=len(nodes.ptr) - 1)
    return replace(nodes, x=nodes.x[kept], pos=nodes.pos[kept], ptr=pointers(counts))


def squared_error(found: Tensor, goal: Tensor) -> Tensor | None:
    """Half the mean squared error, as for regression targets; None of nothing."""
    return 0.5 * (found - goal).square().mean() if len(goal) else None


def info_nce(a: Tensor, b: Tensor) -> Tensor:
    """Symmetric InfoNCE of vectors ``[k, width]`` whose i-th belong together."""
    a, b = nn.functional.normalize(a, dim=1), nn.functional.normalize(b, dim=1)
    scores, mine = a @ b.T / TEMPERATURE, torch.arange(len(a), device=a.device)
    cross = nn.functional.cross_entropy
    return 0.5 * (cross(scores, mine) + cross(scores.T, mine))


def mean_of(losses: list[Tensor | None] | list[Tensor], like: Tensor) -> Tensor:
    """Their mean without those of nothing; 0 of none at all."""
    some = [loss for loss in losses if loss is not None]
    return torch.stack(some).mean() if some else like.sum() * 0.0
