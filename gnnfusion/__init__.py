"""Graph-neural-network fusion of multimodal samples for several tasks at once.

The names below are loaded when they are first used, so that ``import gnnfusion`` and
``gnnfusion --help`` stay fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Schema": "gnnfusion.schema",
    "Modality": "gnnfusion.schema",
    "Task": "gnnfusion.schema",
    "Split": "gnnfusion.schema",
    "Context": "gnnfusion.schema",
    "infer_schema": "gnnfusion.samples.infer",
    "build": "gnnfusion.graphs.build",
    "GraphStore": "gnnfusion.graphs.store",
    "Topology": "gnnfusion.graphs.topology",
    "TrainConfig": "gnnfusion.training.config",
    "train": "gnnfusion.training.fit",
    "Run": "gnnfusion.training.run",
    "predict": "gnnfusion.training.predict",
    "compare": "gnnfusion.training.compare.compare",
    "relate": "gnnfusion.relatedness.relate",
    "TaskGraph": "gnnfusion.relatedness.task_graph",
}

__all__ = [*_HOMES, "__version__", "datasets"]

if TYPE_CHECKING:
    from gnnfusion import datasets
    from gnnfusion.graphs.build import build
    from gnnfusion.graphs.store import GraphStore
    from gnnfusion.graphs.topology import Topology
    from gnnfusion.relatedness.relate import relate
    from gnnfusion.relatedness.task_graph import TaskGraph
    from gnnfusion.samples.infer import infer_schema
    from gnnfusion.schema import Context, Modality, Schema, Split, Task
    from gnnfusion.training.compare.compare import compare
    from gnnfusion.training.config import TrainConfig
    from gnnfusion.training.fit import train
    from gnnfusion.training.predict import predict
    from gnnfusion.training.run import Run


def __getattr__(name: str) -> Any:
    if name == "datasets":
        return importlib.import_module("gnnfusion.datasets")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'gnnfusion' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
