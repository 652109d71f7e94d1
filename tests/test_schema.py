import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gnnfusion.errors import SchemaError
from gnnfusion.schema import (
    MODALITY_KINDS,
    TASK_KINDS,
    Context,
    Modality,
    Schema,
    Split,
    Task,
)

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True).filter(lambda n: n != "task")
VALUES = st.one_of(st.integers(), st.booleans(), st.text("abc é", max_size=5), st.floats(0, 1))


@st.composite
def modalities(draw, name):
    columns = draw(st.lists(st.text("abc .", min_size=1, max_size=4), min_size=1, max_size=3))
    settings = st.dictionaries(NAMES, VALUES, max_size=2)
    return Modality(
        name=name, kind=draw(st.sampled_from(MODALITY_KINDS)), columns=tuple(columns),
        extractor=draw(settings), encoder=draw(settings),
    )  # fmt: skip


@st.composite
def tasks(draw, name, earlier):
    kind = draw(st.sampled_from(TASK_KINDS))
    wide = kind in ("multilabel", "regression") and draw(st.booleans())
    classes = None
    if kind != "regression" and draw(st.booleans()):
        classes = ("no", "yes") if kind == "binary" else ("a", "b", "1")
    return Task(
        name=name, kind=kind, columns=("p", "q") if wide else ("p",), classes=classes,
        weight=draw(st.sampled_from([0.0, 0.5, 1.0])),
        derived_from=draw(st.sets(st.sampled_from(earlier)).map(tuple)) if earlier else (),
        metrics=draw(st.sampled_from([(), ("acc7",)])),
    )  # fmt: skip


@st.composite
def schemas(draw):
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    cut = draw(st.integers(1, len(names)))
    made = []
    for name in names[cut:]:
        made.append(draw(tasks(name, [t.name for t in made])))
    splits = [Split(), Split(column="fold"), Split(ratios={"train": 1.0}, seed=3, group="g")]
    return Schema(
        table=draw(st.text("ab/.", max_size=5)),
        id=draw(st.sampled_from([None, "id"])),
        modalities=tuple(draw(modalities(n)) for n in names[:cut]),
        tasks=tuple(made),
        split=draw(st.sampled_from(splits)),
        context=draw(st.sampled_from([None, Context(group="g", order="o", before=2, after=0)])),
        topology=draw(st.sampled_from([None, ({"relates": {}}, {"full": {"source": "a"}})])),
    )


@given(schemas())
def test_yaml_gives_the_schema_back(tmp_path_factory, schema):
    path = tmp_path_factory.getbasetemp() / "schema.yaml"
    schema.to_yaml(path)
    again = Schema.from_yaml(path)
    assert again == schema
    assert again.base == path.parent
    assert Schema.from_dict(schema.to_dict()) == schema


@given(schemas())
def test_kin_share_a_source(schema):
    """kin[i][j] <=> the sets (self + all that it derives from, transitively) meet."""
    sources = {}
    for task in schema.tasks:  # sources come before what derives from them
        sources[task.name] = {task.name}.union(*(sources[s] for s in task.derived_from))
    kin = schema.kin()
    for i, a in enumerate(schema.task_names):
        assert kin[i][i]
        for j, b in enumerate(schema.task_names):
            assert kin[i][j] == kin[j][i] == bool(sources[a] & sources[b])


def test_kin_of_the_field():
    """Polarity and intensity come from sentiment; a topic does not."""
    schema = Schema(
        modalities=(Modality(name="m", kind="text", columns=("c",)),),
        tasks=(
            Task(name="sentiment", kind="regression"),
            Task(name="polarity", kind="binary", derived_from="sentiment"),
            Task(name="intensity", kind="regression", derived_from=("sentiment",)),
            Task(name="topic", kind="multiclass"),
        ),
    )
    assert schema.kin() == [[True] * 3 + [False]] * 3 + [[False] * 3 + [True]]


def test_column_and_columns_are_one():
    a = Schema.from_dict({"modalities": {"m": {"kind": "text", "column": "c"}}})
    b = Schema.from_dict({"modalities": {"m": {"kind": "text", "columns": ["c"]}}})
    assert a == b
    assert Task(name="t", kind="binary").columns == ("t",)


GOOD = {
    "table": "t.csv",
    "modalities": {"m": {"kind": "text", "column": "c"}},
    "tasks": {"t": {"kind": "binary"}, "u": {"kind": "regression"}},
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modality": {}}, "schema has an unknown entry 'modality'; use table, id, modalities"),
        ({"modalities": {}}, "the schema has no modality"),
        ({"modalities": ["m"]}, "`modalities` must map names to entries"),
        ({"modalities": {"m": {"column": "c"}}}, "modality 'm' has no kind"),
        (
            {"modalities": {"m": {"kind": "smell", "column": "c"}}},
            "unknown kind of modality 'm': 'smell'; use one of text, image",
        ),
        ({"modalities": {"m": {"kind": "text"}}}, "modality 'm' names no column"),
        (
            {"modalities": {"m": {"kind": "text", "column": "c", "columns": ["d"]}}},
            "modality 'm' has both `column` and `columns`",
        ),
        (
            {"modalities": {"m": {"kind": "text", "colunm": "c"}}},
            "modality 'm' has an unknown entry 'colunm'",
        ),
        ({"modalities": {"task": {"kind": "text", "column": "c"}}}, "cannot be named 'task'"),
        ({"modalities": {"a b": {"kind": "text", "column": "c"}}}, "'a b' must be letters"),
        ({"tasks": {"m": {"kind": "binary"}}}, "the name 'm' is used twice"),
        ({"tasks": {"t": {"kind": "ranking"}}}, "unknown kind of task 't': 'ranking'"),
        ({"tasks": {"t": {"kind": "binary", "columns": ["a", "b"]}}}, "exactly one column"),
        ({"tasks": {"t": {"kind": "binary", "classes": ["a"]}}}, "must have two classes"),
        ({"tasks": {"t": {"kind": "ordinal", "classes": [1, 1]}}}, "lists a class twice"),
        ({"tasks": {"t": {"kind": "binary", "weight": -1}}}, "has a negative weight"),
        (
            {"tasks": {"t": {"kind": "binary", "derived_from": "z"}}},
            "task 't' derives from unknown task 'z'",
        ),
        ({"tasks": {"t": {"kind": "binary", "derived_from": "t"}}}, "derives from itself"),
        ({"split": {"ratios": {"train": 0.5}}}, "must be non-negative and sum to 1"),
        ({"split": {"ratios": {"dev": 1}}}, "unknown split 'dev'; use train, valid, test"),
        ({"split": {"by": "x"}}, "split has an unknown entry 'by'"),
        ({"context": {"group": "g"}}, "`context` is incomplete"),
        ({"context": {"group": "g", "order": "o", "before": -1}}, "must not be negative"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, words):
    path = tmp_path / "schema.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **change}))
    with pytest.raises(SchemaError, match=words) as caught:
        Schema.from_yaml(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no schema file"),
        ("a: [1,\nb: 2", r"is not valid YAML \(line 2\)"),
        ("- a", "does not hold a schema"),
        ("", "does not hold a schema"),
    ],
)
def test_files_that_are_no_schema_are_said(tmp_path, text, words):
    path = tmp_path / "schema.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SchemaError, match=words):
        Schema.from_yaml(path)


def test_unknown_names_are_said():
    schema = Schema.from_dict(GOOD)
    with pytest.raises(SchemaError, match="there is no task 'x'; the schema has t, u"):
        schema.task("x")
    with pytest.raises(SchemaError, match="there is no modality 'x'; the schema has m"):
        schema.modality("x")
