"""The contract of public docstrings: what it is, and what each parameter means (numpydoc)."""

import inspect
import re

import pytest

import gnnfusion

NAMES = [n for n in gnnfusion.__all__ if callable(getattr(gnnfusion, n))]


def documented(doc):
    """Names under ``Parameters``; several may share a line."""
    section = re.search(r"Parameters\n-+\n(.*?)(?:\n\n\w[^\n]*\n-+\n|\Z)", doc, re.DOTALL)
    if section is None:
        return set()
    heads = [line for line in section[1].splitlines() if line and not line.startswith(" ")]
    return {name.strip() for head in heads for name in head.split(":")[0].split(",")}


def test_every_public_name_resolves():
    assert {"Schema", "GraphStore", "Topology", "train", "Run", "relate"} <= set(NAMES)
    for name in gnnfusion.__all__:
        assert getattr(gnnfusion, name) is not None
    assert dir(gnnfusion) == sorted(gnnfusion.__all__)
    with pytest.raises(AttributeError, match="module 'gnnfusion' has no attribute 'trian'"):
        _ = gnnfusion.trian


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_described(name):
    thing = getattr(gnnfusion, name)
    doc = inspect.getdoc(thing)
    assert doc
    assert doc.splitlines()[0].rstrip().endswith((".", ":"))
    parameters = set(inspect.signature(thing).parameters) - {"self"}
    assert parameters == documented(doc)


@pytest.mark.parametrize("name", [n for n in NAMES if inspect.isclass(getattr(gnnfusion, n))])
def test_public_methods_say_what_they_do(name):
    thing = getattr(gnnfusion, name)
    for attribute, value in vars(thing).items():
        if attribute.startswith("_") or not (
            callable(value) or isinstance(value, classmethod | property)
        ):
            continue
        if attribute in ("to_dict", "settings", "schema", "task_names", "modality_names"):
            continue  # the name says it all
        assert inspect.getdoc(getattr(thing, attribute)), f"{name}.{attribute}"


def test_readers_of_docstrings_would_notice_a_gap():
    doc = "Does.\n\nParameters\n----------\na, b\n    Both.\n\nReturns\n-------\nc\n    It."
    assert documented(doc) == {"a", "b"}
    assert documented("Does.") == set()
