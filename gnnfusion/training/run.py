"""A run: the folder in which a trained network and all that is known of it lie."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gnnfusion.errors import RunError, UsageError
from gnnfusion.schema import Schema
from gnnfusion.training.config import TrainConfig

if TYPE_CHECKING:
    import pandas as pd

    from gnnfusion.graphs.store import GraphStore
    from gnnfusion.nn.network import FusionNetwork

WEIGHTS = "model.safetensors"
INTERFERENCE = "interference.csv"


@dataclass(frozen=True)
class Run:
    """A finished training run.

    ``config.yaml`` (settings, store), ``schema.yaml``, ``features.json`` (what extractors were
    fitted to, classes, the digest of the data), ``model.safetensors``, ``metrics.json``,
    ``history.csv``, ``README.md``.

    Parameters
    ----------
    path
        The folder.
    """

    path: Path

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Open a run folder.

        Raises
        ------
        RunError
            It is no run, or its training has not finished.
        """
        path = Path(path)
        if not (path / "config.yaml").is_file():
            raise RunError(f"{path} is not a run folder; make one with `gnnfusion train`")
        if not (path / WEIGHTS).is_file():
            raise RunError(
                f"the training in {path} has not finished; call `gnnfusion train` again to resume"
            )
        return cls(path)

    @cached_property
    def settings(self) -> dict[str, Any]:
        values: dict[str, Any] = yaml.safe_load((self.path / "config.yaml").read_text())
        return values

    @property
    def config(self) -> TrainConfig:
        """Settings of the training."""
        return TrainConfig.from_dict({k: v for k, v in self.settings.items() if k != "store"})

    @cached_property
    def schema(self) -> Schema:
        return Schema.from_yaml(self.path / "schema.yaml")

    @cached_property
    def features(self) -> dict[str, Any]:
        """Extractors' settings and states, and the tasks' classes."""
        values: dict[str, Any] = json.loads((self.path / "features.json").read_text())
        return values

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What ``metrics.json`` holds."""
        values: dict[str, Any] = json.loads((self.path / "metrics.json").read_text())
        return values

    @property
    def history(self) -> list[dict[str, str]]:
        """Rows of ``history.csv``, one an epoch."""
        with (self.path / "history.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @property
    def interference(self) -> list[dict[str, str]]:
        """Rows of ``interference.csv``, one a pair of tasks and epoch; `RunError` if not logged."""
        path = self.path / INTERFERENCE
        if not path.is_file():
            raise RunError(
                f"{self.path} logged no interference; train with log_interference "
                "tasks that share parameters and have labels together"
            )
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def store(self) -> GraphStore:
        """The store that the run was trained on; `RunError` if it is gone."""
        from gnnfusion.graphs.store import GraphStore

        if "store" not in self.settings:
            raise RunError(
                f"{self.path} was trained on a store in memory, or one seen with other labels, "
                "splits or weights; save that store and train on the copy"
            )
        path = Path(os.path.normpath(self.path / self.settings["store"]))
        if not path.exists():
            raise RunError(f"the store {path} of this run is gone; build it again")
        return GraphStore.open(path)

    def network(self, device: str = "auto") -> FusionNetwork:
        """The trained network in evaluation mode.

        Raises
        ------
        RunError
            The weights are corrupt or of another schema.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from gnnfusion.graphs.store import GraphStore
        from gnnfusion.nn.network import network_for
        from gnnfusion.training.evaluate import pick_device

        skeleton = GraphStore({"schema": self.schema.to_dict(), **self.features}, {})
        network = network_for(skeleton, self.config.network)
        try:
            network.load_state_dict(load_file(self.path / WEIGHTS))
        except SafetensorError as error:
            raise RunError(f"{self.path / WEIGHTS} is corrupt; train again") from error
        except RuntimeError as error:
            raise RunError(
                f"{self.path / WEIGHTS} does not fit schema.yaml: it was trained for another schema"
            ) from error
        return network.to(pick_device(device)).eval()

    def evaluate(
        self, splits: tuple[str, ...] = ("valid", "test"), device: str = "auto"
    ) -> dict[str, Any]:
        """Metrics on the run's store, by split, task and name."""
        from gnnfusion.training.evaluate import evaluate

        return evaluate(self.network(device), self.store(), splits, given=self.config.evidence > 0)

    def check_reads_labels(self) -> None:
        """`UsageError` if the network never learned to read known labels."""
        from gnnfusion.nn.sharing import check_labels

        check_labels(self.config.network)
        if not self.config.evidence:
            raise UsageError(
                f"{self.path} was trained with evidence 0, so it never learned to read labels; "
                "train with evidence above 0"
            )

    def predict(
        self,
        table: str | Path | pd.DataFrame,
        *,
        given: str | tuple[str, ...] = "none",
        device: str = "auto",
        workers: int | None = None,
    ) -> pd.DataFrame:
        """Predictions for new raw rows; see `gnnfusion.training.predict.predict`."""
        from gnnfusion.training.predict import predict

        return predict(self, table, given=given, device=device, workers=workers)


def features_of(store: GraphStore) -> dict[str, Any]:
    """What a run keeps of a store: extractors, classes, and digests of inputs and of all data."""
    kept = {k: store.meta.get(k) for k in ("modalities", "tasks", "inputs")}
    return {**kept, "data": data_of(store)}


def data_of(store: GraphStore) -> str:
    """Digest of the store whatever its tasks weigh, which the run's own schema tells."""
    from gnnfusion.graphs.digest import digest
    from gnnfusion.graphs.views import with_weights

    return digest(with_weights(store, dict.fromkeys(store.schema.task_names, 1.0)))


def check_same_store(run: Path, store: GraphStore) -> None:
    """`UsageError` if a run that is to be resumed belongs to another schema or other data."""
    if Schema.from_yaml(run / "schema.yaml") != store.schema:
        raise UsageError(f"{run} holds a run of another schema; name another folder")
    before = json.loads((run / "features.json").read_text())
    now = json.loads(json.dumps(features_of(store)))
    if "data" not in before:  # a run of before the digest was kept
        del now["data"]
    if before != now:
        raise UsageError(f"{run} holds a run on other data; name another folder")
