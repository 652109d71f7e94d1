import numpy as np
import pytest
from small_runs import small_config, small_store

from gnnfusion.errors import UsageError
from gnnfusion.relatedness.relate import relate
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.fit import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("relate")
    store = small_store(folder / "store", derived={"t2": ("t0",)})
    train(store, folder / "run", small_config(epochs=1), logs=False)
    return folder


@pytest.mark.parametrize("method", ["evidence", "labels", "attention"])
def test_every_method_answers_its_question(folder, method):
    graph = relate(folder / "run", method, device="cpu")
    assert isinstance(graph, TaskGraph)
    assert graph.method == method
    assert graph.tasks == ("t0", "t1", "t2")
    assert graph.n.max() <= 30  # valid and test rows alone
    assert graph.derived[0, 2]
    assert not graph.significant[0, 2]
    if method != "attention":
        assert np.isnan(graph.value[0, 2])
    assert (graph.question == "labels go together") == (method == "labels")


def test_other_rows_give_other_sizes(folder):
    one = relate(folder / "run", "labels", splits=("test",))
    both = relate(folder / "run", "labels")
    assert one.n[0, 1] < both.n[0, 1]


def test_what_cannot_be_related_is_said(folder, tmp_path):
    with pytest.raises(UsageError, match="unknown method 'gain'; use one of evidence, labels"):
        relate(folder / "run", "gain")
    with pytest.raises(UsageError, match="no split is named to measure on"):
        relate(folder / "run", "labels", splits=())
    store = small_store(tmp_path / "one", tasks=("binary",))
    run = train(store, tmp_path / "run1", small_config(epochs=1), logs=False)
    with pytest.raises(UsageError, match="a task graph needs at least two tasks"):
        relate(run)
    blind = train(
        folder / "store", tmp_path / "run0", small_config(epochs=1, evidence=0.0), logs=False
    )
    with pytest.raises(UsageError, match="trained with evidence 0, so it never learned to read"):
        relate(blind)
    assert relate(blind, "labels").method == "labels"
