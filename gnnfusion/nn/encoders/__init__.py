"""Encoders: the features of one modality's nodes to vectors of the network's width.

Each module defines ``make(spec, state, width, dropout, **settings)``; the module it returns maps a
`NodeLayout` to ``[n, width]`` and has ``fit(nodes)``, which takes what it needs to know of the
training rows' nodes (means and spreads). Which encoder a modality gets follows from the layout of
its nodes, unless its schema entry names one.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from gnnfusion.errors import SchemaError
from gnnfusion.features.nodes import NodeSpec
from gnnfusion.schema import Modality

ENCODERS = {
    "mlp": "gnnfusion.nn.encoders.vector",
    "cnn": "gnnfusion.nn.encoders.picture",
    "conv1d": "gnnfusion.nn.encoders.window",
    "gru": "gnnfusion.nn.encoders.gru",
    "transformer": "gnnfusion.nn.encoders.transformer",
    "text_model": "gnnfusion.nn.encoders.text_model",
    "columns": "gnnfusion.nn.encoders.columns",
}


def default_encoder(kind: str, spec: NodeSpec, state: Mapping[str, Any]) -> str:
    """Name of the encoder that fits such nodes."""
    if kind == "tabular":
        return "columns"
    if kind == "text" and "config" in state:
        return "text_model"
    if spec.dtype in ("int32", "int64"):
        return "gru"
    return {1: "mlp", 2: "conv1d", 3: "cnn"}.get(len(spec.shape), "mlp")


def make_encoder(
    modality: Modality, spec: NodeSpec, state: Mapping[str, Any], width: int, dropout: float
) -> nn.Module:
    """The encoder of a modality; a setting ``dropout`` of its own goes before the network's.

    Raises
    ------
    SchemaError
        Its name or a setting is unknown, or it does not fit the nodes.
    """
    settings = dict(modality.encoder)
    name = settings.pop("name", None) or default_encoder(modality.kind, spec, state)
    if name not in ENCODERS:
        raise SchemaError(
            f"modality {modality.name!r}: unknown encoder {name!r}; use {', '.join(ENCODERS)}"
        )
    module = importlib.import_module(ENCODERS[name])
    dropout = settings.pop("dropout", dropout)
    try:
        encoder: nn.Module = module.make(spec, state, width, dropout, **settings)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"modality {modality.name!r}, encoder {name!r}: {error}") from error
    return encoder
