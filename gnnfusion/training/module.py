"""The Lightning module: one training step, one validation pass, the optimizer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from gnnfusion.graphs.batch import GraphBatch, make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.topology import Topology
from gnnfusion.nn.network import FusionNetwork
from gnnfusion.nn.ownership import task_parameters
from gnnfusion.training.averaging import average_of
from gnnfusion.training.balancing import find_balancing, make_balancer
from gnnfusion.training.balancing.balancer import Split, split_parameters
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.evidence import draw_shown, kin_matrix, scorable
from gnnfusion.training.interference import Interference
from gnnfusion.training.modulation import (
    discrepancy_ratios,
    lone_scores,
    modulate,
    modulation_factors,
)
from gnnfusion.training.objective import (
    constant_losses,
    sample_losses,
    static_weights,
    task_losses,
)
from gnnfusion.training.pretext import PretextLoss
from gnnfusion.training.probes import probe_step
from gnnfusion.training.seeding import draw_left_out, epoch_order, generator, seed_torch

VALID_BATCH = 256


class Batches:
    """The batches of one epoch, in an order given; made as they are asked for.

    Parameters
    ----------
    store, rows, topology, size
        What to batch, in which order, how wired, how many samples at a time.
    without
        Maps the number of a batch and its rows to the modalities left out, bool ``[B, M]``.
    """

    def __init__(
        self,
        store: GraphStore,
        rows: Tensor,
        topology: Topology,
        size: int,
        without: Callable[[int, Tensor], Tensor] | None = None,
    ) -> None:
        self.store, self.topology, self.without = store, topology, without
        self.parts = rows.split(size) if len(rows) else ()

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[GraphBatch]:
        for step, rows in enumerate(self.parts):
            without = None if self.without is None else self.without(step, rows)
            yield make_batch(self.store, rows, self.topology, without)


class FusionModule(pl.LightningModule):
    """Trains a `FusionNetwork` on a store.

    Parameters
    ----------
    network
        With its statistics fitted.
    store
        Samples.
    config
        Settings.
    train, valid
        Rows to train on and to validate on (possibly none).
    """

    def __init__(
        self,
        network: FusionNetwork,
        store: GraphStore,
        config: TrainConfig,
        train: Tensor,
        valid: Tensor,
    ) -> None:
        super().__init__()
        self.network, self.store, self.config = network, store, config
        self.rows = {"train": train, "valid": valid}
        self.topology = topology_of(store)
        self.kin = kin_matrix(store.schema)
        self.evidence = config.evidence if network.reads_labels else 0.0
        self.balancer = make_balancer(config.balancing, static_weights(store))
        reads = find_balancing(config.balancing).reads_gradients or config.log_interference > 0
        self.split = split_parameters(network, store) if reads else Split()
        self.pretext = (
            PretextLoss(config.pretext, network, store, train) if config.pretext != "none" else None
        )
        self.average = average_of(network, config.ema) if config.ema else None
        self.interference = Interference(store.schema.task_names)
        self.probes: list[dict[str, Tensor]] = []
        self.yardstick = constant_losses(network, store, train, valid if len(valid) else train)
        tasks = len(store.schema.tasks)
        self._train_sum, self._train_count = torch.zeros(tasks), torch.zeros(tasks)
        self._valid_sum, self._valid_count = torch.zeros(tasks), torch.zeros(tasks)

    @property
    def kept(self) -> FusionNetwork:
        """The network that is validated and kept: the average, where there is one."""
        if self.average is None:
            return self.network
        found = self.average.module
        assert isinstance(found, FusionNetwork)
        return found

    # -- data -------------------------------------------------------------------------------

    def train_dataloader(self) -> Batches:
        return self.batches_of(self.current_epoch)

    def batches_of(self, epoch: int) -> Batches:
        """The training batches of an epoch."""
        rows = epoch_order(self.rows["train"], self.config.seed, epoch)
        without = partial(self._left_out, epoch) if self.config.modality_dropout else None
        return Batches(self.store, rows, self.topology, self.config.batch_size, without)

    def _left_out(self, epoch: int, step: int, rows: Tensor) -> Tensor:
        place = generator("modalities", self.config.seed, epoch, step)
        return draw_left_out(self.store.present(rows), self.config.modality_dropout, place)

    def val_dataloader(self) -> Batches:
        return Batches(self.store, self.rows["valid"], self.topology, VALID_BATCH)

    def transfer_batch_to_device(
        self, batch: GraphBatch, device: torch.device, dataloader_idx: int
    ) -> GraphBatch:
        return batch.to(device)

    # -- steps ------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        self._train_sum.zero_()
        self._train_count.zero_()
        self.interference.clear()

    def on_train_batch_start(self, batch: GraphBatch, batch_idx: int) -> None:
        """Before the step, so that it is measured with the weights from which the step starts."""
        every = self.config.log_interference
        if every and self.global_step % every == 0:

            def measure() -> tuple[Tensor, Tensor]:
                with self.trainer.precision_plugin.train_step_context():
                    return self.losses_of(batch, batch_idx)

            probe = probe_step(measure, self.split, self.current_epoch)
            self.probes.append(probe)
            self.interference.add(probe["gramian"])

    def losses_of(
        self, batch: GraphBatch, batch_idx: int, epoch: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Loss of each task and how many labels it is over, ``[T]`` each.

        What is drawn on the way (labels shown, dropout) depends on the place in training alone, so
        that called again it tells what has become of the very same losses.
        """
        place = (self.config.seed, self.current_epoch if epoch is None else epoch, batch_idx)
        masks = batch.masks.cpu()
        shown = draw_shown(masks, self.kin, self.evidence, generator("evidence", *place))
        scored = scorable(masks, shown, self.kin)
        seed_torch("step", *place)
        visible = shown.to(batch.masks.device) if self.evidence else None
        outputs = self.network(batch, visible)
        losses = task_losses(
            self.network, outputs, batch, scored.to(batch.masks.device), self.config.label_smoothing
        )
        return losses, scored.sum(0)

    def training_step(self, batch: GraphBatch, batch_idx: int) -> Tensor:
        losses, count = self.losses_of(batch, batch_idx)
        self._train_sum += losses.detach().float().cpu() * count
        self._train_count += count
        present = (count > 0).to(losses.device)
        # Gradients and their products keep their precision whatever the network's is.
        with torch.autocast(losses.device.type, enabled=False):
            balanced: Tensor = self.balancer(losses.float(), present, self.split)
        if self.config.modulation:
            ratios = discrepancy_ratios(
                *lone_scores(self.network, self.store, self.topology, batch)
            )
            self.factors = modulation_factors(ratios, self.config.modulation)
        loss = balanced + self.network.penalty()
        if self.pretext is not None:
            place = (self.config.seed, self.current_epoch, batch_idx)
            seed_torch("pretext", *place)
            loss = loss + self.config.pretext_weight * self.pretext(self.network, batch)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.config.modulation:
            place = (self.config.seed, self.current_epoch, self.global_step)
            seed_torch("modulation", *place)
            slowed = dict(zip(self.store.schema.modality_names, self.factors.tolist(), strict=True))
            schedule = self.lr_schedulers()
            assert isinstance(schedule, torch.optim.lr_scheduler.LRScheduler)
            rates = [float(rate) for rate in schedule.get_last_lr()]
            modulate(optimizer, rates, slowed, self.config.modulation_noise)

    def on_train_batch_end(self, outputs: Any, batch: GraphBatch, batch_idx: int) -> None:
        if self.average is not None:
            self.average.update_parameters(self.network)
        if self.balancer.looks_back:
            with torch.no_grad(), self.trainer.precision_plugin.train_step_context():
                losses, _ = self.losses_of(batch, batch_idx)
            self.balancer.after_step(losses.float())

    def on_validation_epoch_start(self) -> None:
        self._valid_sum.zero_()
        self._valid_count.zero_()

    def validation_step(self, batch: GraphBatch, batch_idx: int) -> None:
        network = self.kept
        outputs = network(batch)
        for place, task in enumerate(batch.tasks):
            rows = batch.masks[:, place].nonzero().squeeze(1)
            losses = sample_losses(
                network.head(task), outputs[task][rows].float(), batch.targets[task][rows]
            )
            self._valid_sum[place] += losses.sum().cpu()
            self._valid_count[place] += len(rows)

    def epoch_losses(self) -> dict[str, Tensor]:
        """Mean loss per task ``[T]`` of the epoch so far; NaN where no label was scored."""
        losses = {"train": self._train_sum / self._train_count}
        if len(self.rows["valid"]):
            losses["valid"] = self._valid_sum / self._valid_count
        return losses

    def relative_losses(self) -> Tensor:
        """Losses of the epoch so far over those of the training-mean predictor, ``[T]``.

        On the validation rows; where there are none, on the training rows.
        """
        losses = self.epoch_losses()
        return losses.get("valid", losses["train"]) / self.yardstick

    def valid_score(self) -> float:
        """Mean of `relative_losses` over the tasks that have labels; infinite if one diverged.

        A task whose labels are all alike, so that guessing has no loss, has no such ratio either.
        """
        ratio = self.relative_losses()[self.yardstick > 0]
        return float(ratio.nan_to_num(torch.inf, torch.inf).mean())

    # -- optimizer --------------------------------------------------------------------------

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Matrices decay, vectors do not; pretrained models and tasks have rates of their own."""
        gentle = {id(p) for p in self.network.pretrained_parameters()}
        factors: dict[str, float] = {}
        if self.config.task_lr:
            for task, names in task_parameters(self.network, self.store).items():
                factors |= dict.fromkeys(names, self.config.task_lr.get(task, 1.0))
        encoder: dict[int, str] = {}
        if self.config.modulation:
            for modality in self.store.schema.modality_names:
                found = self.network.encoder_parameters(modality)
                encoder |= {id(p): modality for p in found}
        groups: dict[tuple[float, float, str | None], list[torch.nn.Parameter]] = {}
        for name, p in self.network.named_parameters():
            if p.requires_grad:
                lr = self.config.tune_lr if id(p) in gentle else self.config.lr
                lr *= factors.get(name, 1.0)
                decay = self.config.weight_decay if p.ndim > 1 else 0.0
                groups.setdefault((lr, decay, encoder.get(id(p))), []).append(p)
        for p in () if self.pretext is None else self.pretext.parameters():
            if p.requires_grad:
                decay = self.config.weight_decay if p.ndim > 1 else 0.0
                groups.setdefault((self.config.lr, decay, None), []).append(p)
        return [
            {"params": parameters, "lr": lr, "weight_decay": decay, "modality": modality}
            for (lr, decay, modality), parameters in groups.items()
        ]

    def configure_optimizers(self) -> Any:
        # One kernel for all weights; of mixed precision it would take over what clipping needs.
        fused = self.config.precision == "32-true"
        optimizer = torch.optim.AdamW(self.parameter_groups(), lr=self.config.lr, fused=fused)
        steps = self.config.epochs * max(1, len(self.train_dataloader()))
        warm = max(1, round(self.config.warmup * steps))

        began, limit = time.perf_counter(), self.config.max_seconds

        def rate(step: int) -> float:
            if limit:  # the end may be one of time: the rate falls towards whichever comes first
                step = max(step, int(steps * (time.perf_counter() - began) / limit))
            rise = min(1.0, (step + 1) / warm)
            if self.config.schedule == "constant":
                return rise
            done = min(1.0, max(0.0, (step - warm) / max(1, steps - warm)))
            return rise * 0.5 * (1 + math.cos(math.pi * done))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }
