r"""Gradient modulation against modality dominance: OGM-GE for any number of modalities and tasks.

Peng et al., "Balanced multimodal learning via on-the-fly gradient modulation", `arXiv:2203.15332
<https://arxiv.org/abs/2203.15332>`_: a modality that already serves well takes the gradient of the
joint loss away from the others, so its encoder is slowed down. What is general here:

*Score of one modality.* The paper reads it off its fusion, a sum of one linear map per modality.
Most fusions have no such term, but every one of them is defined for samples that lack modalities.
So :math:`s_{imt} = \exp(-\ell_t(\hat y_t(x_i^m), y_{it}))` is the likelihood of the label under the
network when sample i keeps modality m alone: of a class the probability that the paper takes, of a
regression target the Gaussian one. A linear probe of each encoder would say what is in the
modality, not what the network makes of it, and would have to be trained beside it.

*Ratio.* Over the samples i with a label of t, the modality m and at least one more,

.. math:: \rho_{mt} = \frac{\sum_i s_{imt}}
                          {\sum_i \operatorname{mean}_{n \ne m,\, n \in i} s_{int}},
          \qquad
          k_m = \operatorname{mean}_t \begin{cases}
                1 - \tanh(\alpha \rho_{mt}) & \rho_{mt} > 1 \\ 1 & \text{else} \end{cases}

the paper's for two modalities and one task. Missing modalities are in no sum.

*Step.* The paper multiplies the gradient by :math:`k_m`, under SGD. Under Adam, which divides by
the size of past gradients, that would cancel; so the factor is one of the encoder's step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gnnfusion.graphs.batch import GraphBatch, make_batch
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.topology import Topology
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.training.objective import sample_losses


@torch.no_grad()
def lone_scores(
    network: FusionNetwork, store: GraphStore, topology: Topology, batch: GraphBatch
) -> tuple[Tensor, Tensor]:
    """Likelihood of each label with one modality alone, and where there is one, ``[M, B, T]``.

    In evaluation mode, without known labels.

    Parameters
    ----------
    network
        As it is; it is left as it was.
    store, topology
        Where the batch comes from, and how it is wired.
    batch
        B samples; a modality that was left out of one is no longer there.
    """
    training = network.training
    network.eval()
    present = batch.present()  # [B, M]
    scores = torch.zeros(present.shape[1], *batch.masks.shape, device=present.device)
    defined = present.T.unsqueeze(2) & batch.masks
    for m in range(len(scores)):
        others = torch.arange(present.shape[1], device=present.device) != m
        alone = make_batch(store, batch.rows.cpu(), topology, (others | ~present).cpu())
        outputs = network(alone.to(present.device))
        for t, task in enumerate(batch.tasks):
            rows = defined[m, :, t].nonzero().squeeze(1)
            out, target = outputs[task][rows].float(), batch.targets[task][rows]
            scores[m, rows, t] = (-sample_losses(network.head(task), out, target)).exp()
    network.train(training)
    return scores, defined


def discrepancy_ratios(scores: Tensor, defined: Tensor) -> Tensor:
    r""":math:`\rho` ``[M, T]`` of scores ``[M, B, T]``; NaN where no sample has two modalities."""
    count = defined.sum(0)
    able = defined & (count > 1)
    scores = scores * defined
    others = (scores.sum(0) - scores) / (count - 1).clamp_min(1)
    return (scores * able).sum(1) / (others * able).sum(1)


def modulation_factors(ratios: Tensor, strength: float) -> Tensor:
    """:math:`k` ``[M]`` of ratios ``[M, T]``; tasks without a ratio do not count."""
    slowed = torch.where(ratios > 1, 1 - (strength * ratios).tanh(), torch.ones_like(ratios))
    known = ~ratios.isnan()
    return torch.where(
        known.any(1), (slowed * known).sum(1) / known.sum(1), torch.ones_like(slowed[:, 0])
    )


@torch.no_grad()
def modulate(
    optimizer: torch.optim.Optimizer,
    rates: Sequence[float],
    factors: Mapping[str, float],
    noise: float,
) -> None:
    """Slow the coming step of each encoder down, and add the noise that generalization wants.

    The enhancement of the paper: normal numbers as wide as the entries of the gradient, for
    matrices and filters.

    Parameters
    ----------
    optimizer
        Groups of parameters with their ``modality``; None is no encoder.
    rates
        Of each group by the schedule. The group's own may be slowed down still: after a step that
        was skipped for an overflow in half precision, the schedule does not set them anew.
    factors
        Of each modality.
    noise
        In units of the spread of a gradient's entries.
    """
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if group["modality"] is None:
            continue
        group["lr"] = rate * factors[group["modality"]]
        for p in group["params"]:
            if noise and p.grad is not None and p.ndim > 1:
                p.grad += noise * p.grad.std(correction=0) * torch.randn_like(p.grad)
