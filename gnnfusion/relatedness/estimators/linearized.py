r"""What training on some tasks would do, by a linear model of the network around its weights.

Around the trained weights :math:`\theta_0` the outputs are linear in a step :math:`U w` within a
subspace of K directions: :math:`f_t(x; \theta_0 + U w) \approx f_t(x; \theta_0) + \Phi_t(x) w`. The
directions are the gradients of every task on the training rows, made orthonormal, for these are the
ways in which trainings on any of the tasks set out. To second order
in w a loss is a quadratic with the Gauss-Newton matrix :math:`A_t = E[\Phi_t^\top H \Phi_t]` and
the slope :math:`c_t = E[\Phi_t^\top \nabla \ell]`, so that training on the tasks S is solving a
small linear system,

.. math:: w_S = -\Bigl(\sum_{t \in S} A_t + \lambda I\Bigr)^{-1} \sum_{t \in S} c_t

(sums: a mean would hold tasks that have nothing in common to a stricter :math:`\lambda` together
than alone), and the loss :math:`L_j(w_S)` is read off held-out rows. The value of (i, j) is
:math:`(L_j(w_{\{j\}}) - L_j(w_{\{i, j\}})) / L_j(0)`; `gains` does the same for any groups. After
Li et al. (arXiv:2409.06091), who project gradients of single samples at random and refit a linear
model per subset; in place of the projection stands the subspace. :math:`\lambda` is the one of
`RIDGES` with the least held-out loss of the tasks alone.

Question: training with i helps j, in a first step away from a network that was trained on all.
Null: none; no interval. Cost: T backward passes over the training rows and 2 T + 1 forward passes
over them and the held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.nn.readout import Head
from gnnfusion.relatedness.estimators import HELPS
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.balancing.balancer import jacobian, task_gradients
from gnnfusion.training.evidence import kin_matrix
from gnnfusion.training.objective import sample_losses, task_losses

BATCH = 256
# Length of a step of the finite differences, as a share of the weights' norm. Of a network trained
# on planted arrays such derivatives are 0.006 % from the exact ones; of a step ten times as long
# 0.5 %, for outputs bend.
NUDGE = 1e-4
RIDGES = np.geomspace(1e-3, 10, 9)  # times the mean curvature


def estimate(network: FusionNetwork, store: GraphStore, rows: Tensor, seed: int) -> TaskGraph:
    """Predicted gain of every ordered pair of tasks.

    Parameters
    ----------
    rows
        Held-out rows; the training rows are the store's.
    seed
        Not used: nothing is drawn.
    """
    count = len(store.schema.tasks)
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    members = np.zeros((len(pairs), count), dtype=bool)
    for n, (i, j) in enumerate(pairs):
        members[n, [i, j]] = True
    found = gains(network, store, rows, members)
    value = np.full((count, count), np.nan)
    for n, (i, j) in enumerate(pairs):
        value[i, j] = found[n, j]
    kin = kin_matrix(store.schema).numpy() & ~np.eye(count, dtype=bool)
    nothing = np.full((count, count), np.nan)
    masks = store.masks[rows].sum(0).numpy()
    return TaskGraph(
        tasks=store.schema.task_names,
        method="linearized",
        question=HELPS,
        value=np.where(kin, np.nan, value),
        low=nothing,
        high=nothing,
        p_value=nothing,
        n=np.broadcast_to(masks, (count, count)),
        derived=kin,
        unit="share of j's loss",
        ranks_only=True,
        notes=("n counts rows of the target; only the order within a target means something.",),
    )


def gains(
    network: FusionNetwork, store: GraphStore, rows: Tensor, members: np.ndarray
) -> np.ndarray:
    """Predicted gains of groups, ``[G, T]``; NaN for tasks that are not in the group.

    Of a group with a task that has no training label nothing can be said, so all of it is NaN.

    Parameters
    ----------
    members
        Which tasks are in which group, bool ``[G, T]``.
    """
    train = store.rows("train")
    basis = directions(network, store, train)
    slope, curve, _ = quadratic(network, store, train, basis)
    held_slope, held_curve, loss = quadratic(network, store, rows, basis)
    scale = max(float(np.nanmean(np.einsum("tkk->tk", curve))), 1e-12)

    def loss_of(group: np.ndarray, ridge: float) -> np.ndarray:
        matrix = curve[group].sum(0) + ridge * scale * np.eye(len(basis))
        w = -np.linalg.solve(matrix, slope[group].sum(0))
        after: np.ndarray = loss + held_slope @ w + 0.5 * np.einsum("tkl,k,l->t", held_curve, w, w)
        return after

    single = np.eye(len(loss), dtype=bool)
    able = np.isfinite(slope).all(1)

    def alone(ridge: float) -> np.ndarray:
        return np.array([
            loss_of(one, ridge)[j] if able[j] else np.nan for j, one in enumerate(single)
        ])  # fmt: skip

    ridge = min(RIDGES, key=lambda r: np.nanmean(alone(r) / loss))
    before = alone(ridge)
    found = np.full(members.shape, np.nan)
    for n, group in enumerate(members):
        if able[group].all():
            found[n] = (before - loss_of(group, ridge)) / loss
    return np.where(members, found, np.nan)


def directions(network: FusionNetwork, store: GraphStore, rows: Tensor) -> Tensor:
    """Orthonormal directions in the space of all weights, ``[K, D]``."""
    network.eval()
    weights = _trained(network)
    device, topology = weights[0].device, topology_of(store)
    total = torch.zeros(len(store.schema.tasks), sum(w.numel() for w in weights), device=device)
    for chosen in rows.split(BATCH):
        batch = make_batch(store, chosen, topology).to(device)
        with torch.enable_grad():
            losses = task_losses(network, network(batch), batch, batch.masks)
        total += jacobian(task_gradients(losses, weights), weights) * len(chosen)
    size = total.norm(dim=1, keepdim=True)
    # Each task sets out in a direction; how steep it is there belongs to the slope, not to it.
    _, values, basis = torch.linalg.svd((total / size)[size.squeeze(1) > 0], full_matrices=False)
    return basis[values > 1e-4 * values.max()]


def quadratic(
    network: FusionNetwork, store: GraphStore, rows: Tensor, basis: Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope ``[T, K]``, curvature ``[T, K, K]`` and value ``[T]`` of each task's mean loss.

    NaN for a task without a label among `rows`.
    """
    here, features = _outputs_and_features(network, store, rows, basis)
    slope, curve, loss = [], [], []
    for task, out in here.items():
        known = store.mask(task)[rows]
        head = network.head(task)
        device = next(head.parameters()).device
        target = store.target(task)[rows][known].to(device)
        value, first, second = _curvature(head, out[known].to(device), target)
        phi = features[task][:, known].double()  # [K, n, C]
        n = max(1, int(known.sum()))
        nothing = torch.nan if not known.any() else 1.0
        slope.append(nothing * torch.einsum("knc,nc->k", phi, first) / n)
        curve.append(nothing * torch.einsum("knc,ncd,lnd->kl", phi, second, phi) / n)
        loss.append(nothing * value.sum() / n)
    return tuple(torch.stack(each).numpy() for each in (slope, curve, loss))  # type: ignore[return-value]


@torch.no_grad()
def _outputs_and_features(
    network: FusionNetwork, store: GraphStore, rows: Tensor, basis: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs ``[n, C]`` and `_features` ``[K, n, C]`` of every task, on the CPU."""
    network.eval()
    device, topology = basis.device, topology_of(store)
    here, features = [], []
    for chosen in rows.split(BATCH) if len(rows) else [rows]:
        batch = make_batch(store, chosen, topology).to(device)
        with _unrounded():
            here.append(network(batch))
            features.append(_features(network, basis, partial(network, batch)))
    tasks = store.schema.task_names
    return tuple(  # type: ignore[return-value]
        {t: torch.cat([part[t] for part in parts], dim).float().cpu() for t in tasks}
        for parts, dim in ((here, 0), (features, 1))
    )


@contextmanager
def _unrounded() -> Iterator[None]:
    """Within the block a GPU computes with all 24 bits of its numbers.

    cuDNN rounds the weights of convolutions to 11 bits unless told otherwise, more than they move.
    """
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


@torch.no_grad()
def _features(
    network: FusionNetwork, basis: Tensor, measure: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Derivatives of outputs by each direction (central differences), task -> ``[K, n, C]``.

    Differences to one side would depend on which way a singular vector points, which is arbitrary.
    """
    weights = _trained(network)
    before = parameters_to_vector(weights).clone()
    step = NUDGE * float(before.norm())
    found: dict[str, list[Tensor]] = {}
    try:
        for direction in basis:
            moved = []
            for sign in (1, -1):
                vector_to_parameters(before + sign * step * direction, weights)
                moved.append(measure())
            for task, ahead in moved[0].items():
                found.setdefault(task, []).append((ahead - moved[1][task]) / (2 * step))
    finally:
        vector_to_parameters(before, weights)
    return {task: torch.stack(each) for task, each in found.items()}


def _curvature(head: Head, out: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Losses ``[n]``, their gradient ``[n, C]`` and Hessian ``[n, C, C]`` by the outputs."""
    with torch.enable_grad():
        free = out.detach().double().requires_grad_()
        loss = sample_losses(head, free, target)
        (first,) = torch.autograd.grad(loss.sum(), free, create_graph=True)
        rows = [
            torch.autograd.grad(first[:, c].sum(), free, retain_graph=True)[0]
            if first.requires_grad else torch.zeros_like(free)
            for c in range(out.shape[1])
        ]  # fmt: skip
    second = torch.stack(rows, 1)
    return loss.detach().cpu(), first.detach().cpu(), second.detach().cpu()


def _trained(network: FusionNetwork) -> list[torch.nn.Parameter]:
    """Weights that training moves, but for pretrained models within encoders."""
    gentle = {id(p) for p in network.pretrained_parameters()}
    return [p for p in network.parameters() if p.requires_grad and id(p) not in gentle]
