"""From raw values to graph nodes: one module per modality kind.

A kind is a module with the attributes of `Extractor`; adding one takes that file and one line in
`KINDS` (and its name in ``schema.MODALITY_KINDS``).
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from gnnfusion.errors import SchemaError

if TYPE_CHECKING:
    from gnnfusion.features.files import Partial, Value
    from gnnfusion.features.nodes import Nodes, NodeSpec

KINDS = {
    "text": "gnnfusion.features.text",
    "image": "gnnfusion.features.image",
    "video": "gnnfusion.features.video",
    "audio": "gnnfusion.features.audio",
    "tabular": "gnnfusion.features.tabular",
    "series": "gnnfusion.features.series",
    "array": "gnnfusion.features.array",
}


class Extractor(Protocol):
    """What the module of a modality kind holds.

    It may also have ``require(settings)``, which raises `MissingExtraError` before any work where
    an optional package is needed and absent.
    """

    Settings: Any
    """Frozen dataclass of all settings with their defaults."""
    VERSION: int
    """Raised when the same input gives other nodes, so that cached ones are not used."""
    CHUNK: int
    """Rows worked on at a time: the unit of caching and resuming."""
    FIT_ROWS: int | None
    """How many training rows `fit` looks at, evenly spread; None for all."""

    def reads_files(self, settings: Any) -> bool:
        """Whether cells name files."""

    def parallel(self, settings: Any) -> bool:
        """Whether extraction takes long enough for worker processes."""

    def fit(self, settings: Any, columns: Sequence[str], values: Sequence[Value]) -> dict[str, Any]:
        """What is learned from training rows, as plain JSON values."""

    def spec(self, settings: Any, state: Mapping[str, Any]) -> NodeSpec:
        """Layout of the nodes."""

    def extract(
        self, settings: Any, state: Mapping[str, Any], values: Sequence[Value]
    ) -> list[Nodes | Partial | str]:
        """Nodes of each value; a string is what is wrong with it, in one sentence."""


def load_kind(kind: str) -> Extractor:
    """The module of a modality kind."""
    if kind not in KINDS:
        raise SchemaError(f"unknown modality kind {kind!r}; use one of {', '.join(KINDS)}")
    return cast(Extractor, importlib.import_module(KINDS[kind]))


def read_settings(kind: str, name: str, values: Mapping[str, Any]) -> Any:
    """Settings of a modality's extractor from plain values.

    Raises
    ------
    SchemaError
        Naming the modality and the setting that is unknown or does not fit.
    """
    cls = load_kind(kind).Settings
    known = [f.name for f in dataclasses.fields(cls)]
    for key in values:
        if key not in known:
            raise SchemaError(
                f"modality {name!r}: unknown extractor setting {key!r}; {kind} has "
                f"{', '.join(known)}"
            )
    try:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except SchemaError as error:
        raise SchemaError(f"modality {name!r}: {error}") from error
    except (TypeError, ValueError) as error:
        raise SchemaError(f"modality {name!r}: a setting has the wrong type ({error})") from error


def plain_settings(settings: Any) -> dict[str, Any]:
    """All settings as plain JSON values, defaults included."""
    return cast("dict[str, Any]", json.loads(json.dumps(dataclasses.asdict(settings))))
