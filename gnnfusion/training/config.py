"""Settings of a training run; plain values that go to ``config.yaml`` and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from gnnfusion.errors import UsageError
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.schema import check_task_names
from gnnfusion.training.balancing import check_precision, find_balancing

PRETEXTS = ("none", "masked", "reconstruct", "contrastive")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a network is trained.

    Parameters
    ----------
    network
        Size and shape of the network.
    epochs
        Passes over the training rows at most.
    batch_size
        Samples per step.
    lr
        Peak learning rate of AdamW.
    tune_lr
        Peak learning rate of pretrained models that are trained further (text with `tune`).
    weight_decay
        Decoupled weight decay.
    task_lr
        Task -> factor of the learning rate of the parameters that this task alone has; 1 for those
        not named.
    schedule
        ``cosine`` decays the rate to zero over `epochs`; ``constant`` keeps it.
    warmup
        Share of all steps over which the rate rises linearly from zero.
    clip
        Largest norm of the gradient.
    patience
        Epochs without a better validation score before stopping; the best epoch's weights are
        kept.
    head_epochs
        Epochs at most of a second phase in which the shared weights stay at their best epoch and
        each task's own parameters are trained on, for each task to its own best epoch; 0: none.
    max_seconds
        Training ends with the epoch in which this many seconds have passed, `head_epochs` included,
        and then depends on the machine's speed; 0 sets no limit.
    evidence
        Share of training samples some of whose labels are shown to the network; of the others all
        are hidden. 0 switches known labels off, and so does a network without task nodes, which
        cannot read them.
    modality_dropout
        Probability with which a training step leaves out each modality of a sample; never all it
        has. Teaches every modality to serve on its own, without the noise that dropping single
        units adds to tasks that need precision.
    modulation
        Strength with which encoders of modalities that dominate in a step are slowed down in it
        (OGM-GE); 0: none. Costs a forward pass for each modality.
    modulation_noise
        Noise that modulation adds to the gradients of encoders, in units of their spread.
    pretext
        Self-supervised loss that rows without labels serve, too: masked, reconstruct, contrastive,
        or none.
    pretext_weight
        Its weight beside the mean of the tasks' losses.
    ema
        Decay of a running average of the weights that is validated and kept in place of the last
        step's (`averaging.average_of`); 0 keeps those.
    label_smoothing
        Share of each class label that is spread evenly over all classes in training (not in any
        score); keeps probabilities from 0 and 1.
    balancing
        How the losses of several tasks become one step; ``gnnfusion info --methods`` lists the
        names.
    log_interference
        Compare the tasks' gradients every so many steps, and write ``interference.csv`` and what
        `relate` needs of the training; 0 never does. Costs about ``T + 1/3`` steps each time.
    refit
        Train on train + valid for exactly `epochs` epochs and keep the last weights; for settings
        that cross-validation has chosen.
    seed
        Fixes weights, order, dropout and the labels shown.
    device
        auto, cpu or cuda.
    precision
        Lightning's name: 32-true, bf16-mixed, 16-mixed.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    epochs: int = 60
    batch_size: int = 32
    lr: float = 1e-3
    tune_lr: float = 5e-5
    weight_decay: float = 0.01
    task_lr: dict[str, float] = field(default_factory=dict)
    schedule: str = "cosine"
    warmup: float = 0.05
    clip: float = 1.0
    patience: int = 15
    head_epochs: int = 0
    max_seconds: float = 0.0
    evidence: float = 0.5
    modality_dropout: float = 0.0
    modulation: float = 0.0
    modulation_noise: float = 1.0
    pretext: str = "none"
    pretext_weight: float = 1.0
    ema: float = 0.0
    label_smoothing: float = 0.0
    balancing: str = "static"
    log_interference: int = 0
    refit: bool = False
    seed: int = 0
    device: str = "auto"
    precision: str = "32-true"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("max_seconds", "modulation", "modulation_noise", "pretext_weight"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must not be negative, not {getattr(self, name)}")
        for name in ("lr", "tune_lr"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")
        for task, factor in self.task_lr.items():
            if not factor > 0:
                raise UsageError(f"task_lr of {task!r} must be positive, not {factor}")
        if self.head_epochs < 0:
            raise UsageError(f"head_epochs must be at least 0, not {self.head_epochs}")
        if self.head_epochs and self.refit:
            raise UsageError(
                "head_epochs stops by validation rows, and a refit has none; leave it 0"
            )
        if not 0 <= self.evidence <= 1:
            raise UsageError(f"evidence must lie between 0 and 1, not {self.evidence}")
        for name in ("modality_dropout", "ema", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(
                    f"{name} must be at least 0 and below 1, not {getattr(self, name)}"
                )
        find_balancing(self.balancing)
        if self.log_interference < 0:
            raise UsageError(f"log_interference must be at least 0, not {self.log_interference}")
        if self.pretext not in PRETEXTS:
            raise UsageError(f"unknown pretext {self.pretext!r}; use {', '.join(PRETEXTS)}")
        if self.schedule not in ("cosine", "constant"):
            raise UsageError(f"unknown schedule {self.schedule!r}; use cosine or constant")
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"unknown precision {self.precision!r}; use one of {', '.join(PRECISIONS)}"
            )
        check_precision(self.balancing, self.precision)
        if self.device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"unknown device {self.device!r}; use auto, cpu or cuda")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, equal to what comes back from YAML and JSON, which know no tuples."""
        values = asdict(self)
        values["network"]["groups"] = [list(group) for group in self.network.groups]
        return values

    def changed(self) -> dict[str, Any]:
        """The settings that are not the default; a setting that is added later changes nothing."""
        values, usual = self.to_dict(), type(self)().to_dict()
        own = {k: v for k, v in values.pop("network").items() if v != usual["network"][k]}
        return {**{k: v for k, v in values.items() if v != usual[k]}, "network": own}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Read plain values; `UsageError` names an unknown setting."""
        values = dict(values)
        network = _make(NetworkConfig, values.pop("network", None) or {})
        return _make(cls, {**values, "network": network})

    @classmethod
    def from_yaml(cls, path: str | Path) -> TrainConfig:
        """Read a file of settings; those not named keep their defaults."""
        return cls.from_dict(yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {})


def check_tasks(config: TrainConfig, tasks: tuple[str, ...]) -> None:
    """`UsageError` if the settings name a task that there is not."""
    check_task_names(config.task_lr, tasks, "task_lr")


def _make(cls: type, values: Mapping[str, Any]) -> Any:
    known = [f.name for f in fields(cls)]
    for name in values:
        if name not in known:
            raise UsageError(f"unknown setting {name!r}; use {', '.join(known)}")
    return cls(**values)
