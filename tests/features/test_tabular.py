import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnnfusion.errors import DataError, SchemaError
from gnnfusion.features import tabular
from gnnfusion.features.files import Partial


def test_a_column_is_a_node_of_index_value_missing(run):
    rows = [("1", "red"), ("3", "blue"), (None, "red"), (None, None)]
    results, spec, _ = run("tabular", rows, train=rows[:2])
    assert spec.shape == (3,)
    assert results[0].x.tolist() == [[0, -1, 0], [1, 2, 0]]
    assert results[1].x.tolist() == [[0, 1, 0], [1, 1, 0]]
    assert results[2].x.tolist() == [[0, 0, 1], [1, 2, 0]]
    assert len(results[3]) == 0


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_training_numbers_have_mean_0_and_deviation_1(values):
    settings = tabular.Settings()
    rows = [(v,) for v in values]
    state = tabular.fit(settings, ["a"], rows)
    x = np.array([n.x[0, 1] for n in tabular.extract(settings, state, rows)])
    assert abs(x.mean()) < 1e-3
    assert np.isfinite(x).all()
    assert x.std() == pytest.approx(1, abs=1e-3) or np.ptp(values) < 1e-3


def test_only_training_rows_are_learned_from(run):
    _, _, state = run("tabular", [(1, "a"), (100, "b")], train=[(1, "a"), (3, "a")])
    assert state["columns"][0]["mean"] == 2
    assert state["columns"][1]["categories"] == ["a"]


def test_unseen_categories_have_code_0(run):
    results, _, _ = run("tabular", ["b", "x"], train=["a", "b"])
    assert [n.x[0, 1] for n in results] == [2, 0]
    assert [n.x[0, 2] for n in results] == [0, 0]


def test_settings_override_what_is_guessed(run):
    _, _, state = run(
        "tabular", [("94501",), ("93510",)], {"categorical": ["zip"]}, columns=["zip"]
    )
    assert state["columns"][0]["categories"] == ["93510", "94501"]
    results, _, state = run("tabular", ["1", "NA", "x"], {"numeric": ["c0"]})
    assert state["columns"][0]["kind"] == "numeric"
    assert isinstance(results[2], Partial)
    with pytest.raises(SchemaError, match="lists column 'b'"):
        run("tabular", ["1"], {"numeric": ["b"]})


@pytest.mark.parametrize(
    "cells",
    [
        ["2024-01-01", "2024-01-02T12:00:00"],
        ["31/12/2023", "01/01/2024"],
        ["12/31/2023", "01/01/2024"],
        [datetime.date(2023, 12, 31), datetime.datetime(2024, 1, 1)],
    ],
)
def test_dates_become_days(run, cells):
    results, _, state = run("tabular", cells, {"standardize": False})
    column = state["columns"][0]
    assert column["kind"] == "date"
    days = [float(n.x[0, 1]) for n in results]
    assert 0 < days[1] - days[0] <= 1.5
    assert days[0] == pytest.approx(19722.5, abs=1)


def test_dates_with_a_time_zone_are_utc():
    assert tabular.days("1970-01-02T01:00:00+01:00", "iso") == 1.0


def test_listed_dates_must_be_dates(run):
    with pytest.raises(DataError, match="column 'c0' is listed as dates"):
        run("tabular", ["2024-01-01", "soon"], {"dates": ["c0"]})


def test_bad_cells_leave_the_other_columns(run):
    results, _, _ = run("tabular", [("inf", 1), (2, 1), (3, "x")], train=[(1, 2), (3, 4)])
    assert isinstance(results[0], Partial)
    assert results[0].problems == ((0, "the value is infinite"),)
    assert results[0].nodes.x[:, 2].tolist() == [1, 0]
    assert results[2].problems == ((1, "the value 'x' is not a number"),)


def test_constant_columns_stay_finite(run):
    results, _, _ = run("tabular", [5.0, 5.0, 6.0], train=[5.0, 5.0])
    assert [n.x[0, 1] for n in results] == [0, 0, 1]
