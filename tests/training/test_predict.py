"""New raw rows through a trained run."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_runs import small_config
from small_tables import CLASSES, built

from gnnfusion.errors import SchemaError, UsageError
from gnnfusion.training.evaluate import outputs, predictions
from gnnfusion.training.fit import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    with built(folder) as (frame, store):
        run = train(store, folder / "run", small_config(epochs=2), logs=False)
        yield folder, frame, store, run


@pytest.fixture
def test_table(trained):
    """The rows of the test split as a new table; context stays within them either way."""
    folder, frame, _, _ = trained
    path = folder / "new.csv"
    frame[frame.fold == "test"].to_csv(path, index=False)
    return path


def predict(run, table, **more):
    return run.predict(table, workers=1, device="cpu", **more)


def test_new_rows_get_what_the_store_gets(trained, test_table):
    """Predictions and probabilities are those of `evaluate` on the same rows."""
    _, _, store, run = trained
    network = run.network("cpu")
    rows = store.rows("test")
    found = outputs(network, store, rows)
    frame = predict(run, test_table)
    assert frame["id"].tolist() == store.ids(rows)
    assert (frame["problem"] == "").all()
    for task in store.schema.tasks:
        value, p = predictions(network, task, found[task.name])
        classes = store.classes(task.name)
        if task.kind == "regression":
            names = {"point": ["point_x", "point_y"], "score": ["score"]}[task.name]
            np.testing.assert_allclose(frame[names], value, rtol=1e-4, atol=1e-4)
            assert p is None
            continue
        np.testing.assert_allclose(frame[[f"{task.name}_p_{c}" for c in classes]], p, atol=1e-5)
        if task.kind == "multilabel":
            assert (frame[[f"tags_{c}" for c in classes]].to_numpy() == value).all()
        else:
            assert frame[task.name].tolist() == [classes[v] for v in value]


def test_columns_are_the_tasks_and_nothing_else(trained, test_table):
    frame = predict(trained[3], test_table)
    assert list(frame.columns) == [
        "id", "binary", "binary_p_no", "binary_p_yes",
        "mood", "mood_p_calm", "mood_p_glad", "mood_p_sad",
        "grade", "grade_p_1", "grade_p_2", "grade_p_3", "point_x", "point_y",
        "tags_tag_a", "tags_tag_b", "tags_p_tag_a", "tags_p_tag_b", "score", "problem",
    ]  # fmt: skip


def test_labels_are_not_needed_and_not_read(trained, test_table):
    _, frame, _, run = trained
    expected = predict(run, test_table)
    labels = [c for t in run.schema.tasks for c in t.columns]
    without = pd.read_csv(test_table).drop(columns=[*labels, "fold"])
    pd.testing.assert_frame_equal(predict(run, with_pictures(trained, without)), expected)
    assert len(frame) == 60


def with_pictures(trained, frame, name="more.csv"):
    """A table beside the pictures, where its paths lead."""
    path = trained[0] / name
    frame.to_csv(path, index=False)
    return path


def test_rows_that_cannot_be_read_are_listed_and_predicted(trained, test_table):
    folder, _, _, run = trained
    table = pd.read_csv(test_table, dtype=object)
    (folder / "pic/broken.png").write_bytes(b"broken")
    table.loc[2, "picture"] = "pic/broken.png"
    table.loc[5, "picture"] = "pic/nowhere.png"
    table.loc[7, "age"] = "old"
    table.loc[8, ["picture", "words", "age"]] = None
    found = predict(run, with_pictures(trained, table))
    listed = found.index[found["problem"] != ""].tolist()
    assert listed == [2, 5, 7]
    assert "'pic/broken.png' cannot be read" in found["problem"][2]
    assert "'pic/nowhere.png' is not there" in found["problem"][5]
    assert "'old'" in found["problem"][7]
    assert found.drop(columns="problem").notna().all(axis=None)
    # Its unreadable picture is an absent one, to the last digit.
    table.loc[[2, 5], "picture"] = None
    table.loc[7, "age"] = None
    again = predict(run, with_pictures(trained, table))
    pd.testing.assert_frame_equal(again.drop(columns="problem"), found.drop(columns="problem"))
    assert (again["problem"] == "").all()


def test_given_labels_are_returned_and_marked(trained, test_table):
    _, frame, _, run = trained
    plain, found = predict(run, test_table), predict(run, test_table, given="auto")
    rows = frame[frame.fold == "test"].reset_index(drop=True)
    for task in ("binary", "mood", "grade"):
        known = rows[task].notna()
        assert (found[f"{task}_given"] == known).all()
        assert 0 < known.sum() < len(rows)
        assert (found[task][known] == rows[task][known]).all()
        # The probabilities are still those of the network, which is not shown the label itself.
        columns = [f"{task}_p_{c}" for c in CLASSES[task]]
        shares = found.loc[known, columns].to_numpy(dtype=float)
        assert (shares.max(1) < 1).all()
    known = rows["x"].notna()
    assert (found["point_given"] == known).all()
    np.testing.assert_allclose(found["point_y"][known], rows["y"][known], rtol=1e-6)
    changed = (found["binary_p_yes"] - plain["binary_p_yes"]).abs() > 1e-7
    others = rows[["mood", "grade", "x", "score"]].notna().any(axis=1)
    assert changed[others].all()
    assert not changed[~(others | rows["tag_a"].notna())].any()


def test_kin_are_never_used_for_each_other(trained, test_table):
    """score derives from point: giving one does not move the other."""
    _, frame, _, run = trained
    plain, found = predict(run, test_table), predict(run, test_table, given="point")
    np.testing.assert_allclose(found["score"], plain["score"], rtol=1e-5)
    known = frame[frame.fold == "test"]["x"].notna().to_numpy()
    assert ((found["mood_p_sad"] - plain["mood_p_sad"]).abs() > 1e-7)[known].all()
    assert "mood_given" in found
    assert not found["mood_given"].any()


def test_a_class_never_seen_is_a_problem_of_its_row(trained, test_table):
    table = pd.read_csv(test_table, dtype=object)
    table.loc[4, "mood"] = "furious"
    found = predict(trained[3], with_pictures(trained, table), given="auto")
    assert "furious" in found["problem"][4]
    assert not found["mood_given"][4]
    assert found["mood"][4] in CLASSES["mood"]


def test_a_data_frame_will_do(trained, test_table):
    folder, _, _, run = trained
    table = pd.read_csv(test_table)
    table["picture"] = [f"{folder}/{p}" if isinstance(p, str) else p for p in table["picture"]]
    pd.testing.assert_frame_equal(predict(run, table), predict(run, test_table))


def test_what_cannot_be_predicted_is_said(trained, test_table):
    run = trained[3]
    with pytest.raises(UsageError, match="--given names the unknown task 'age'; use none, auto"):
        predict(run, test_table, given="mood,age")
    table = with_pictures(trained, pd.read_csv(test_table).drop(columns="words"))
    with pytest.raises(SchemaError, match="has no column 'words'"):
        predict(run, table)


def test_given_others_is_what_evaluate_scores(trained, test_table):
    """`predict --given` of all others and `split_given_others` are the same numbers."""
    _, _, store, run = trained
    from gnnfusion.training.evidence import kin_matrix, others_shown

    network, rows = run.network("cpu"), store.rows("test")
    kin = kin_matrix(store.schema)
    place = store.schema.task_names.index("mood")
    shown = outputs(network, store, rows, lambda masks: others_shown(masks, kin, place))["mood"]
    p = network.head("mood").probabilities(shown)
    found = predict(run, test_table, given="auto")
    columns = [f"mood_p_{c}" for c in CLASSES["mood"]]
    torch.testing.assert_close(
        torch.tensor(found[columns].to_numpy()), p.detach(), rtol=1e-4, atol=1e-5, check_dtype=False
    )


def test_a_run_that_never_saw_labels_reads_none(trained, test_table, tmp_path):
    _, _, store, _ = trained
    run = train(store, tmp_path / "run", small_config(epochs=1, evidence=0.0), logs=False)
    assert run.metrics["split_given_others"] == run.evaluate(device="cpu")["split_given_others"]
    assert run.metrics["split_given_others"] == {}
    with pytest.raises(UsageError, match="trained with evidence 0, so it never learned to read"):
        predict(run, test_table, given="auto")
