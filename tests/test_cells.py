import datetime

import numpy as np
import pandas as pd
import pytest

from gnnfusion.cells import is_missing, label, number, sort_labels


@pytest.mark.parametrize("cell", [None, "", "  ", float("nan"), np.float32("nan"), pd.NA, pd.NaT])
def test_missing_cells(cell):
    assert is_missing(cell)
    assert number(cell) is None
    assert label(cell) is None


@pytest.mark.parametrize("cell", [0, 0.0, False, "0", "NA", "nan?", [], datetime.date(2024, 1, 1)])
def test_present_cells(cell):
    assert not is_missing(cell)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1e3", 1000),
        (" 2 ", 2),
        (True, 1),
        ("true", 1),
        ("NA", None),
        ("NaN", None),
        ("inf", np.inf),
    ],
)
def test_numbers(cell, value):
    assert number(cell) == value


@pytest.mark.parametrize("cell", ["x", "1_000", "1,5", [1, 2], {}])
def test_what_is_no_number(cell):
    with pytest.raises(ValueError):
        number(cell)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        ("1.0", "1"),
        ("007", "007"),
        (" a ", "a"),
        (1.5, "1.5"),
        ("None", "None"),
    ],
)
def test_labels(cell, text):
    assert label(cell) == text


def test_labels_are_sorted_by_value_or_name():
    assert sort_labels({"10", "9", "-1"}) == ("-1", "9", "10")
    assert sort_labels({"10", "9", "a"}) == ("10", "9", "a")
