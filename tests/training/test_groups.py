import json

import pytest

from gnnfusion.errors import DataError
from gnnfusion.training.groups import read_groups, read_weights


def test_groups_and_weights_are_read(tmp_path):
    path = tmp_path / "groups.json"
    path.write_text(json.dumps({"groups": [["a", "b"], ["c"]], "weights": {"a": 2, "c": 0.5}}))
    assert read_groups(path) == (("a", "b"), ("c",))
    assert read_weights(path) == {"a": 2.0, "c": 0.5}


NO_GROUPS = ("[]", '["a"]', "[[]]", "[[1]]", '{"a": 1}')
NO_WEIGHTS = ("{}", '{"a": -1}', '{"a": true}', '{"a": Infinity}', '{"a": NaN}', '["a"]')


@pytest.mark.parametrize("text", ["{}", "[]", *(f'{{"groups": {g}}}' for g in NO_GROUPS)])
def test_a_file_without_groups_is_said(tmp_path, text):
    (tmp_path / "g.json").write_text(text)
    with pytest.raises(DataError, match="holds no groups; write"):
        read_groups(tmp_path / "g.json")


@pytest.mark.parametrize("text", ["{}", "[]", *(f'{{"weights": {w}}}' for w in NO_WEIGHTS)])
def test_a_file_without_weights_is_said(tmp_path, text):
    (tmp_path / "g.json").write_text(text)
    with pytest.raises(DataError, match="holds no weights of 0 or more; write"):
        read_weights(tmp_path / "g.json")


def test_a_file_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(DataError, match="cannot be read; name a file of groups"):
        read_groups(tmp_path / "none.json")
    (tmp_path / "g.json").write_text("groups")
    with pytest.raises(DataError, match="is no JSON file; name a file of groups"):
        read_weights(tmp_path / "g.json")
