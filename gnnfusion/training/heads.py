"""Early stopping for each task: its own parameters at their own best epoch, on one trunk."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from gnnfusion.nn.ownership import task_parameters
from gnnfusion.training.module import FusionModule

SLOWER = 0.5  # of the peak learning rate, and constant: the heads are not far from their optimum


def train_heads(module: FusionModule, seconds: float | None = None) -> dict[str, int]:
    """Train each task's own parameters on, and leave each at its best epoch.

    Tasks are best at different epochs, but a head fits only the trunk it was trained on: the heads
    of one epoch on the trunk of another are no model that ever was. So the shared weights stay
    where the mean score was best, and after that each task's own parameters move alone, from where
    they are, with gradients that are clipped and stopped (`patience`) task by task. Nothing that
    one task does reaches another, and none ends with a higher validation loss than it began with.

    Chosen among five ways on planted arrays, three settings of 4 or 5 data sets
    (docs/regularizing.md): the validation score falls by 0.009, 0.019 and 0.010, and that of rows
    which stopped nothing by 0.003, 0.010 and 0.010. Heads of their own best epochs on the best
    trunk: there -0.001, +0.008, -0.007. Stopped tasks frozen and dropped while the trunk goes on:
    +0.005, -0.001, -0.019. On six other data sets, which chose nothing, it is -0.011 (standard
    error 0.001) and -0.001 (0.002): most of what validation shows is the choice of an epoch, and
    new rows are not worse for it.

    Parameters
    ----------
    module
        With its network at the best epoch; it is changed.
    seconds
        The epoch in which they pass is the last; None sets no limit.

    Returns
    -------
    dict
        Task -> epochs of this phase that it takes; 0 where none was better than the start.
    """
    network, config = module.network, module.config
    parameters = dict(network.named_parameters())
    found = task_parameters(network, module.store)
    own = {task: [parameters[name] for name in names] for task, names in found.items()}
    device, began = next(network.parameters()).device, time.perf_counter()
    mine = {id(p) for group in own.values() for p in group}
    frozen = [p for p in network.parameters() if p.requires_grad and id(p) not in mine]
    for p in frozen:
        p.requires_grad_(False)
    groups = module.parameter_groups()
    optimizer = torch.optim.AdamW([{**group, "lr": SLOWER * group["lr"]} for group in groups])
    least = _valid_losses(module)
    best = {task: _copied(group) for task, group in own.items()}
    epochs, going = dict.fromkeys(own, 0), [task for task, group in own.items() if group]
    for epoch in range(1, config.head_epochs + 1):
        network.train()
        for step, batch in enumerate(module.batches_of(config.epochs + epoch)):
            losses, count = module.losses_of(batch.to(device), step, config.epochs + epoch)
            optimizer.zero_grad()
            learning = [t for t in going if count[batch.tasks.index(t)]]
            if not learning:
                continue
            total = torch.stack([losses[batch.tasks.index(t)] for t in learning]).sum()
            # In training the losses are averaged over tasks, and the penalty counts as one of them.
            (total + len(own) * network.penalty()).backward()
            for task in own:
                if task not in learning:
                    for p in own[task]:
                        p.grad = None
                elif config.clip:
                    nn.utils.clip_grad_norm_(own[task], config.clip)
            optimizer.step()
        loss = _valid_losses(module)
        for task in list(going):
            if loss[task] < least[task]:
                least[task], epochs[task], best[task] = loss[task], epoch, _copied(own[task])
            elif epoch - epochs[task] >= config.patience:
                going.remove(task)
        late = seconds is not None and time.perf_counter() - began >= seconds
        if late or not going:
            break
    with torch.no_grad():
        for task, group in own.items():
            for p, value in zip(group, best[task], strict=True):
                p.copy_(value)
    for p in frozen:
        p.requires_grad_(True)
    _valid_losses(module)  # what the module knows of its losses is of what is kept
    return epochs


@torch.no_grad()
def _valid_losses(module: FusionModule) -> dict[str, float]:
    module.network.eval()
    module.on_validation_epoch_start()
    device = next(module.network.parameters()).device
    for step, batch in enumerate(module.val_dataloader()):
        module.validation_step(batch.to(device), step)
    losses = module.epoch_losses()["valid"]
    return dict(zip(module.store.schema.task_names, losses.tolist(), strict=True))


def _copied(group: list[nn.Parameter]) -> list[Tensor]:
    return [p.detach().clone() for p in group]
