"""A pretrained text model that is trained further, over the word pieces of each text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gnnfusion.errors import MissingExtraError
from gnnfusion.features.nodes import NodeSpec
from gnnfusion.features.text_model import pretrained_weights
from gnnfusion.graphs.topology import NodeLayout
from gnnfusion.nn.encoders.augment import check_share


class TextModelEncoder(nn.Module):
    """A Transformer of the transformers library; its last states, averaged over each text's pieces.

    Its weights are those of the pretrained model once `fit` was called, before training; a saved
    network brings its own, so that a run needs the model's files for the word pieces of new texts
    alone. The embeddings of word pieces stay as they are: most occur too rarely in a training table
    to move well.

    Parameters
    ----------
    state
        The model's ``config``, name and digest.
    width
        Size of the output.
    dropout
        Probability of dropping a feature of the mean; within the model, its own hold.
    tuned_layers
        How many layers are trained, from the last; all by default. The others keep their weights,
        and cost half as much time.
    token_dropout
        Probability with which training hides a word piece from the model; never a text's first.
    """

    def __init__(
        self,
        state: Mapping[str, Any],
        width: int,
        dropout: float,
        tuned_layers: int | None = None,
        token_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.token_dropout = check_share(token_dropout)
        try:
            from transformers import AutoConfig, AutoModel
        except ImportError as error:
            name = f"the text model {state['model']!r}"
            raise MissingExtraError(name, "sentence-transformers", "text") from error
        self.state = dict(state)
        config = dict(state["config"])
        self.pretrained = AutoModel.from_config(AutoConfig.for_model(**config))
        if hasattr(self.pretrained, "pooler"):
            self.pretrained.pooler = None  # for a sentence's first piece; we average them all
        layers = find_layers(self.pretrained)
        kept = len(layers) if tuned_layers is None else tuned_layers
        if not 1 <= kept <= len(layers):
            raise ValueError(f"tuned_layers must lie between 1 and {len(layers)}, not {kept}")
        self.pretrained.requires_grad_(False)
        for layer in layers[len(layers) - kept :]:
            layer.requires_grad_(True)
        self.padding = int(config["pad_token_id"])
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(self.pretrained.config.hidden_size, width)

    def fit(self, nodes: NodeLayout) -> None:
        """Take the pretrained weights; nothing is taken of the nodes."""
        weights = pretrained_weights(self.state)
        known = self.pretrained.state_dict()
        self.pretrained.load_state_dict({k: v for k, v in weights.items() if k in known})

    def forward(self, nodes: NodeLayout) -> Tensor:
        mask = nodes.x != self.padding
        if len(mask) == 0:
            return self.project.weight.new_zeros(0, self.project.out_features)
        longest = int(mask.sum(1).max())
        ids, mask = nodes.x[:, :longest].long(), mask[:, :longest]
        if self.training and self.token_dropout:
            kept = torch.rand(mask.shape, device=mask.device) >= self.token_dropout
            kept[:, 0] = True  # the piece that begins every text, so that none is empty
            mask = mask & kept
        states = self.pretrained(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        share = mask.to(states.dtype).unsqueeze(2)
        out: Tensor = self.project(self.dropout((states * share).sum(1) / share.sum(1)))
        return out


def find_layers(model: nn.Module) -> nn.ModuleList:
    """The model's stack of layers: its first list of modules.

    Raises
    ------
    ValueError
        It has none.
    """
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module):
            return module
    raise ValueError(f"{type(model).__name__} has no list of layers to train")


def make(
    spec: NodeSpec, state: Mapping[str, Any], width: int, dropout: float, **settings: Any
) -> nn.Module:
    """A `TextModelEncoder`; nodes must be word pieces of a pretrained model."""
    if "config" not in state:
        raise ValueError("nodes must be word pieces of a model, from the extractor's `tune: true`")
    return TextModelEncoder(state, width, dropout, **settings)
