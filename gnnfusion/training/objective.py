"""Masked losses: each task's mean over the samples with its label, exactly zero if none has it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gnnfusion.graphs.batch import GraphBatch
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.nn.readout import Head


def sample_losses(head: Head, out: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    r"""Loss of each sample ``[n]``.

    Cross-entropy for binary, multiclass, multilabel (mean over labels) and ordinal (mean over
    thresholds, after Cao et al., arXiv:1901.07884); half the squared error of standardized
    targets, mean over columns, for regression.

    With `smoothing` :math:`\epsilon` (Szegedy et al., arXiv:1512.00567) a class label is the
    distribution :math:`(1 - \epsilon)\, \delta_y + \epsilon / C` over its C classes, two for each
    label of a set; an ordinal threshold k is met with that distribution's :math:`P(y > k)`.
    """
    if head.kind == "multiclass":
        return F.cross_entropy(out, target.long(), reduction="none", label_smoothing=smoothing)
    if head.kind == "regression":
        return 0.5 * (out - label_goal(head, target)).square().mean(1)
    goal = label_goal(head, target).to(out.dtype)
    if smoothing:
        # P(y > k) of the uniform distribution: 1/2 where there are two classes.
        count = out.shape[1] if head.kind == "ordinal" else 1
        above = torch.arange(count, 0, -1, device=out.device, dtype=out.dtype) / (count + 1)
        goal = (1 - smoothing) * goal + smoothing * above
    return F.binary_cross_entropy_with_logits(out, goal, reduction="none").mean(1)


def label_goal(head: Head, target: Tensor) -> Tensor:
    """Labels in the form of the outputs ``[n, K]``: values standardized; of classes the chances
    that would be right, of an ordinal task those to lie above each threshold."""
    if head.kind == "multiclass":
        return F.one_hot(target.long(), head.size)
    if head.kind == "regression":
        return (target - head.mean) / head.std
    if head.kind == "binary":
        return target.unsqueeze(1)
    if head.kind == "ordinal":
        steps = torch.arange(head.size - 1, device=target.device)
        return (target.unsqueeze(1) > steps).float()
    return target


def task_losses(
    network: FusionNetwork,
    outputs: dict[str, Tensor],
    batch: GraphBatch,
    scored: Tensor,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean loss per task ``[T]`` over the scored samples (bool ``[B, T]``); 0 where there are none.

    Unscored rows are left out before the loss is computed, so that whatever their target holds
    cannot reach the gradient.
    """
    losses = []
    for place, task in enumerate(batch.tasks):
        rows = scored[:, place].nonzero().squeeze(1)
        out = outputs[task][rows]
        loss = sample_losses(network.head(task), out, batch.targets[task][rows], smoothing)
        losses.append(loss.sum() / max(1, len(rows)))
    return torch.stack(losses)


def constant_losses(
    network: FusionNetwork, store: GraphStore, train: Tensor, rows: Tensor
) -> Tensor:
    """Loss per task ``[T]`` on `rows` of predicting the training rows' mean or class shares.

    The yardstick of the validation score; NaN for a task without labels among `rows`.
    """
    result = []
    for task in store.schema.tasks:
        head = network.head(task.name)
        mask, target = store.mask(task.name), store.target(task.name)
        known, asked = target[train][mask[train]], target[rows][mask[rows]]
        device = next(head.parameters()).device
        out = _constant_output(head, known).to(device)
        result.append(sample_losses(head, out.expand(len(asked), -1), asked.to(device)).mean())
    return torch.stack(result).detach().cpu()


def _constant_output(head: Head, known: Tensor) -> Tensor:
    """Outputs ``[1, K]`` of the best constant on the known labels."""
    if head.kind == "regression":
        return torch.zeros(1, head.size)
    if head.kind == "multilabel":
        share = known.float().mean(0, keepdim=True)
    elif head.kind == "multiclass":
        counts = torch.bincount(known.long(), minlength=head.size).float() + 0.5
        return (counts / counts.sum()).log().unsqueeze(0)
    else:
        steps = torch.arange(head.size - 1)
        share = (known.unsqueeze(1) > steps).float().mean(0, keepdim=True)
    # Half a sample of smoothing keeps the logits finite.
    share = (share * len(known) + 0.5) / (len(known) + 1)
    return torch.logit(share)


def static_weights(store: GraphStore) -> Tensor:
    """Weights of the schema's tasks, normalized to sum 1, ``[T]``."""
    weights = torch.tensor([t.weight for t in store.schema.tasks])
    return weights / weights.sum().clamp_min(1e-12)
