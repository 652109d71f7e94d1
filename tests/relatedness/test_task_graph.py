import json
import subprocess
import sys

import networkx as nx
import numpy as np
import pytest

from gnnfusion.errors import RunError, UsageError
from gnnfusion.relatedness.intervals import mean_interval
from gnnfusion.relatedness.task_graph import QUESTIONS, TaskGraph


def make(count=4, seed=0, **changes):
    rng = np.random.default_rng(seed)
    value = rng.normal(size=(count, count))
    half = rng.uniform(0.05, 0.2, (count, count))
    values = {
        "tasks": tuple(f"t{n}" for n in range(count)),
        "method": "evidence",
        "question": QUESTIONS[1],
        "value": value,
        "low": value - half,
        "high": value + half,
        "p_value": rng.random((count, count)) ** 3,
        "n": np.full((count, count), 50),
        **changes,
    }
    return TaskGraph(**values)


def same(a, b):
    return a.to_dict() == b.to_dict()


def test_adjusting_bounds_the_share_of_false_findings():
    """A third of the pairs related; and without any, few graphs have a finding at all."""
    rng = np.random.default_rng(0)
    shares, some = [], []
    for _ in range(300):
        p = rng.random((8, 8))
        some.append(bool(make(8, p_value=p).significant.any()))
        p[:3] = rng.random((3, 8)) ** 12
        kept = make(8, p_value=p).significant
        shares.append(kept[3:].sum() / max(1, kept.sum()))
    assert np.mean(shares) <= 0.05
    assert np.mean(some) <= 0.05


def test_derived_pairs_are_no_findings_and_cost_no_power():
    p = np.full((3, 3), 0.01)
    derived = np.zeros((3, 3), bool)
    derived[0, 1] = True  # either direction marks both
    graph = make(3, p_value=p, derived=derived)
    assert graph.derived[1, 0]
    assert np.isnan(graph.p_adjusted[[0, 1], [1, 0]]).all()
    # Four tests, not six: 0.01 x 4 x (1 + 1/2 + 1/3 + 1/4), and all are at rank four.
    assert graph.p_adjusted[0, 2] == pytest.approx(0.01 * 25 / 12)
    assert not graph.significant[0, 1]
    assert {(e.source, e.target) for e in graph.edges()} == {
        ("t0", "t2"), ("t2", "t0"), ("t1", "t2"), ("t2", "t1"),
    }  # fmt: skip
    assert sum(e.derived for e in graph.edges(significant_only=False)) == 2


def test_of_a_one_sided_method_only_a_value_above_the_null_is_a_finding():
    """Its p-value stays as it is; for the others it counts as a test that came out at 1."""
    rng = np.random.default_rng(1)
    value, p = rng.normal(1, 1, (6, 6)), rng.random((6, 6)) ** 6
    graph = make(6, value=value, p_value=p, null=1.0, one_sided=True)
    above = graph.value > 1
    plain = make(6, value=value, p_value=np.where(above, p, 1.0), null=1.0)
    np.testing.assert_array_equal(graph.p_adjusted, plain.p_adjusted)
    assert not graph.significant[~above].any()
    assert make(6, value=value, p_value=p, null=1.0).significant[~above].any()
    off = ~np.eye(6, dtype=bool)
    np.testing.assert_array_equal(graph.p_value[off], p[off])
    assert same(TaskGraph.from_dict(graph.to_dict()), graph)


def test_a_symmetric_method_counts_a_pair_once():
    p = np.full((3, 3), 0.02)
    assert make(3, p_value=p, symmetric=True).p_adjusted[0, 1] == pytest.approx(0.02 * 11 / 6)
    assert make(3, p_value=p).p_adjusted[0, 1] == pytest.approx(0.02 * 2.45)
    adjusted = make(5, symmetric=True).p_adjusted
    assert np.array_equal(adjusted, adjusted.T, equal_nan=True)


def test_the_diagonal_says_nothing():
    graph = make(value=np.ones((4, 4)), p_value=np.zeros((4, 4)))
    for matrix in (graph.value, graph.low, graph.high, graph.p_value, graph.p_adjusted):
        assert np.isnan(matrix.diagonal()).all()
    assert not graph.significant.diagonal().any()
    assert all(e.source != e.target for e in graph.edges(significant_only=False))


def test_untested_pairs_are_not_significant():
    p = np.zeros((4, 4))
    p[0, 1] = np.nan
    assert not make(p_value=p).significant[0, 1]
    assert make(p_value=p).significant[1, 0]


def test_what_is_not_interpretable_has_no_findings():
    p = np.zeros((4, 4))
    assert make(p_value=p).edges()
    graph = make(p_value=p, control={"interpretable": np.bool_(False)})
    assert graph.edges() == []
    assert graph.edges(significant_only=False)


def test_networkx_has_every_pair_with_its_attributes():
    value = make().value.copy()
    value[2, 3] = np.nan
    graph = make(value=value)
    drawn = graph.to_networkx()
    assert isinstance(drawn, nx.DiGraph)
    assert drawn.number_of_edges() == 11
    edge = drawn.edges["t0", "t1"]
    assert edge["value"] == graph.value[0, 1]
    assert {"low", "high", "p_value", "p_adjusted", "n", "significant", "derived"} <= set(edge)
    assert drawn.graph["question"] == QUESTIONS[1]


@pytest.mark.parametrize("count", [1, 2, 6])
def test_json_round_trip(count, tmp_path):
    graph = make(
        count,
        derived=np.eye(count, k=1, dtype=bool),
        control={"loss": np.float32(0.5), "bad": float("nan"), "interpretable": True},
        notes=("a note",),
        null=1.0,
    )
    graph.to_json(tmp_path / "sub" / "g.json")
    text = (tmp_path / "sub" / "g.json").read_text()
    assert "NaN" not in text  # strict JSON
    assert same(TaskGraph.from_json(tmp_path / "sub" / "g.json"), graph)
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["g.json"]


def test_graphml_and_gexf_can_be_read_again(tmp_path):
    derived = np.zeros((4, 4), bool)
    derived[0, 1] = True
    graph = make(derived=derived)
    graph.to_graphml(tmp_path / "g.graphml")
    graph.to_gexf(tmp_path / "g.gexf")
    for read in (nx.read_graphml(tmp_path / "g.graphml"), nx.read_gexf(tmp_path / "g.gexf")):
        assert set(read.nodes) == set(graph.tasks)
        assert read.number_of_edges() == 12
    assert nx.read_graphml(tmp_path / "g.graphml").edges["t2", "t3"]["value"] == pytest.approx(
        graph.value[2, 3]
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"question": "related?"}, "question must be one of labels go together"),
        ({"value": np.zeros((3, 4))}, r"`value` of a task graph must be \[4, 4\]"),
        ({"derived": np.zeros((3, 3))}, "`derived`"),
        ({"tasks": ("a", "a", "b", "c")}, "twice"),
    ],
)
def test_what_does_not_fit(wrong, says):
    with pytest.raises(UsageError, match=says):
        make(**wrong)


def test_bad_files(tmp_path):
    with pytest.raises(RunError, match="run relate first"):
        TaskGraph.from_json(tmp_path / "none.json")
    for text in ("{", "[]", '{"format": 1}', '{"format": 9, "tasks": []}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(RunError):
            TaskGraph.from_json(tmp_path / "bad.json")


def test_derived_given_is_not_changed():
    derived = np.zeros((4, 4), bool)
    derived[0, 1] = True
    value = np.ones((4, 4))
    make(derived=derived, value=value)
    assert derived.sum() == 1
    assert (value == 1).all()


def test_no_torch_is_imported(tmp_path):
    code = (
        "import sys, gnnfusion.relatedness.task_graph, gnnfusion.report.figures;"
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_the_dictionary_is_plain():
    json.dumps(make(control={"n": np.int64(3)}).to_dict(), allow_nan=False)


def test_the_interval_over_retraining_is_of_the_mean_over_seeds():
    values = np.random.default_rng(0).normal(0.3, 0.1, (5, 4, 4))
    graph = make(value=values[0], retrained=values)
    low, high = graph.over_retraining
    np.testing.assert_array_equal((low, high), mean_interval(values))
    assert same(TaskGraph.from_dict(json.loads(json.dumps(graph.to_dict()))), graph)
    assert np.isnan(make().over_retraining).all()


def test_what_was_retrained_must_be_of_these_tasks():
    with pytest.raises(UsageError, match=r"`retrained` of a task graph must be \[seeds, 4, 4\]"):
        make(retrained=np.zeros((4, 4)))


def test_places_are_within_a_target_and_derived_pairs_have_none():
    value = np.array([[0, 3.0, 1, 1], [5, 0, 1, 2], [7, 1, 0, 3], [6, np.nan, 2, 0]])
    derived = np.zeros((4, 4), bool)
    derived[2, 0] = True
    ranks = make(value=value, derived=derived).ranks
    np.testing.assert_array_equal(ranks[:, 0], [np.nan, 2, np.nan, 1])
    np.testing.assert_array_equal(ranks[:, 1], [1, np.nan, 2, np.nan])
    np.testing.assert_array_equal(ranks[:, 2], [np.nan, 2, np.nan, 1])  # t0 derives, too
    np.testing.assert_array_equal(ranks[:, 3], [3, 2, 1, np.nan])


def test_intervals_are_named_and_left_out_where_there_are_none():
    nothing = np.full((4, 4), np.nan)
    assert list(make().intervals) == ["given the model"]
    again = make(low=nothing, high=nothing, retrained=np.ones((3, 4, 4)))
    assert list(again.intervals) == ["over retraining"]
    assert not make(p_value=nothing, method="cka").tested
    # The test is the method's: without a label to test on there is one all the same.
    assert make(p_value=nothing, method="labels").tested
    assert not make(p_value=nothing, method="transfer", ranks_only=True).tested


def test_what_an_interval_is_of_is_kept_and_older_files_have_it_given_the_model():
    graph = make(over="over the training's steps")
    assert list(graph.intervals) == ["over the training's steps"]
    values = graph.to_dict()
    assert same(TaskGraph.from_dict(values), graph)
    del values["over"]
    assert list(TaskGraph.from_dict(values).intervals) == ["given the model"]
