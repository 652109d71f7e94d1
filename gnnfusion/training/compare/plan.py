"""What a comparison trains: methods, and settings drawn alike for each of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from gnnfusion.errors import GnnFusionError, UsageError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.fusion import find_fusion
from gnnfusion.nn.network import network_for
from gnnfusion.nn.sharing import find_sharing, sharing_name
from gnnfusion.training.balancing import find_balancing, make_balancer
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.objective import static_weights

LR, WIDTHS, DROPOUTS = (3e-4, 3e-3), (32, 64, 96, 128), (0.0, 0.1, 0.2, 0.3, 0.5)
"""What the search draws from: the rate log-uniformly, the others evenly."""

CONTROL = "single+static"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A method to compare.

    Parameters
    ----------
    name
        Unique; what differs between methods, as ``fusion+sharing+balancing``.
    config
        Its settings before any search.
    weights
        Task -> weight of its loss in final trainings; that of the schema for those not named.
    """

    name: str
    config: TrainConfig
    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a candidate; its `key` depends on the settings alone, so that finished trials
    are found again.

    Parameters
    ----------
    candidate
        Name of the method.
    config
        Settings.
    final
        Whether test rows are scored, too; while settings are searched they never are.
    weights
        Task -> weight of its loss; that of the schema for those not named.
    fold
        Which of how many folds of train + valid is held out in place of the validation rows.
    """

    candidate: str
    config: TrainConfig
    final: bool
    weights: dict[str, float] = field(default_factory=dict)
    fold: tuple[int, int] | None = None

    @property
    def key(self) -> str:
        # All settings, not those that were changed: another version may have other defaults.
        plain = {"config": self.config.to_dict(), "final": self.final, "weights": self.weights,
                 "fold": self.fold}  # fmt: skip
        return hashlib.blake2b(json.dumps(plain).encode(), digest_size=8).hexdigest()


def candidates(
    store: GraphStore,
    base: TrainConfig,
    fusions: Sequence[str],
    sharings: Sequence[str],
    balancings: Sequence[str],
    evidence: float = 0.5,
) -> tuple[list[Candidate], dict[str, str]]:
    """The grid of methods, the single-task control, and hidden-label training as a row of its own.

    No method of the grid is shown a label in training.

    Parameters
    ----------
    store
        What they must fit.
    base
        Settings that all share.
    fusions, sharings, balancings
        Names; with a sharing that does not fit a fusion, the pair is left out. The control has the
        first fusion that fits.
    evidence
        Share of samples with shown labels for the row of its own; 0 leaves it out.

    Returns
    -------
    tuple
        The candidates, and of those left out the reason.

    Raises
    ------
    UsageError
        A name is unknown, or nothing is left to compare.
    """
    for names, find in ((fusions, find_fusion), (sharings, find_sharing),
                        (balancings, find_balancing)):  # fmt: skip
        for name in names:
            find(name)
    base = replace(base, evidence=0.0, refit=False)
    found: dict[str, TrainConfig] = {}
    for fusion, sharing, balancing in product(fusions, sharings, balancings):
        name = "+".join((fusion, sharing, balancing))
        found[name] = _method(base, fusion, sharing, balancing)
    reasons = {name: _misfit(store, config) for name, config in found.items()}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    if len(left_out) == len(found):
        raise UsageError(f"nothing is left to compare: {next(iter(left_out.values()))}")
    for fusion in fusions:
        control = _method(base, fusion, *CONTROL.split("+"))
        if not _misfit(store, control):
            found[f"{fusion}+{CONTROL}"] = control
            break
    kept = [Candidate(name=n, config=c) for n, c in found.items() if n not in left_out]
    readers = [c for c in kept if sharing_name(c.config.network) == "task_nodes"]
    if evidence and readers:
        first = readers[0]
        config = replace(first.config, evidence=evidence)
        kept.append(Candidate(name=f"{first.name}+hidden_labels", config=config))
    return kept, left_out


def _method(base: TrainConfig, fusion: str, sharing: str, balancing: str) -> TrainConfig:
    """The settings that all share with these methods; single tasks take no groups."""
    groups = () if sharing == "single" else base.network.groups
    network = replace(base.network, fusion=fusion, sharing=sharing, groups=groups)
    return replace(base, network=network, balancing=balancing)


def _misfit(store: GraphStore, config: TrainConfig) -> str:
    """Why these settings cannot be trained, no network or no solver; empty if they can."""
    try:
        network_for(store, config.network)
        make_balancer(config.balancing, static_weights(store))
    except GnnFusionError as error:
        return str(error)
    return ""


def control_name(fusions: Sequence[str], methods: Sequence[Candidate]) -> str:
    """Name of the control: the first fusion that fits, with nothing shared between tasks."""
    names = {m.name for m in methods}
    found = (name for f in fusions if (name := f"{f}+{CONTROL}") in names)
    return next(found, "")


def draws(count: int, seed: int) -> list[dict[str, Any]]:
    """Settings to search, the same for every method; the first changes nothing.

    Each is ``{"lr": …, "network": {"width": …, "dropout": …}}`` or empty.
    """
    rng = np.random.default_rng(seed)
    found: list[dict[str, Any]] = [{}]
    for _ in range(count - 1):
        found.append({
            "lr": float(f"{np.exp(rng.uniform(*np.log(LR))):.2g}"),
            "network": {"width": int(rng.choice(WIDTHS)), "dropout": float(rng.choice(DROPOUTS))},
        })  # fmt: skip
    return found[:count]


def with_settings(config: TrainConfig, settings: dict[str, Any]) -> TrainConfig:
    """The config with the settings of a draw; a width must suit the heads, which it does."""
    settings = dict(settings)
    network = replace(config.network, **settings.pop("network", {}))
    return replace(config, network=network, **settings)
