"""One run, every method: each answers its question, or says in a sentence why it cannot."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml
from small_runs import small_config, small_store

from gnnfusion.errors import UsageError
from gnnfusion.graphs.store import GraphStore
from gnnfusion.relatedness.estimators import ESTIMATORS, METHODS
from gnnfusion.relatedness.relate import relate
from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.training.fit import train
from gnnfusion.training.run import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("relate")
    store = small_store(folder / "store", derived={"t2": ("t0",)})
    train(store, folder / "run", small_config(epochs=1), logs=False)
    return folder


@pytest.mark.parametrize("method", ESTIMATORS)
def test_every_method_answers_its_question(folder, method):
    graph = relate(folder / "run", method, device="cpu")
    assert isinstance(graph, TaskGraph)
    assert graph.method == method
    assert graph.question == ESTIMATORS[method].question
    assert graph.tasks == ("t0", "t1", "t2")
    assert np.isfinite(graph.value[0, 1])
    assert np.isfinite(graph.value[1, 2])
    if not ESTIMATORS[method].reads_training_rows:
        assert graph.n.max() <= 30  # valid and test rows alone, or steps
    assert graph.derived[0, 2]
    assert not graph.significant[0, 2]
    if ESTIMATORS[method].family != "attention":
        assert np.isnan(graph.value[0, 2])


@pytest.mark.parametrize("network", [{"groups": (("t0", "t1"),)}, {"sharing": "single"},
                                     {"sharing": "hard"}])  # fmt: skip
@pytest.mark.parametrize("method", ESTIMATORS)
def test_of_networks_of_another_kind_there_is_a_value_or_a_sentence(apart, method, network):
    """Tasks that share no parameter pull at none together, and no message goes between them."""
    run = apart(**network)
    try:
        graph = relate(run, method, device="cpu")
    except UsageError as error:
        assert method not in ("labels", "residuals", "cka", "rsa")
        said = str(error)
        assert said[-1] not in ".!"
        assert "\n" not in said
        assert network.get("sharing") != "hard" or ESTIMATORS[method].family != "gradient"
        return
    assert graph.question == ESTIMATORS[method].question
    between = graph.value[[0, 2], [2, 0]]  # of different groups
    if method in ("evidence", "ablation", "ablation_total"):
        assert "groups" in network
        assert (between == 0).all()
    if method in ("gradient", "look_ahead", "first_order") and "hard" not in network.values():
        assert (np.isnan(between) | (np.abs(between) < 1e-6)).all()
    assert not graph.significant[0, 2] or method in ("labels", "residuals")


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """Runs with other networks, each trained once."""
    place, made = tmp_path_factory.mktemp("apart"), {}
    store = small_store(place / "store")

    def run(**network):
        name = "-".join(network) + str(network.get("sharing"))
        if name not in made:
            config = small_config(epochs=1)
            config = replace(config, network=replace(config.network, **network))
            made[name] = train(store, place / name, config, logs=False)
        return made[name]

    return run


def test_retraining_gives_its_interval_and_is_kept(folder):
    graph = relate(folder / "run", "cka", retrainings=2, device="cpu")
    assert graph.retrained.shape == (3, 3, 3)
    np.testing.assert_array_equal(graph.retrained[0], graph.value)
    assert not np.allclose(graph.retrained[1, 0, 1], graph.value[0, 1])
    assert list(graph.intervals) == ["given the model", "over retraining"]
    assert "over retraining is of 3 trainings; it keeps its word from 5 on" in graph.notes[-1]
    assert sorted(p.name for p in (folder / "run" / "retrained").iterdir()) == ["seed1", "seed2"]
    again = relate(folder / "run" / "retrained" / "seed2", "cka", device="cpu")
    np.testing.assert_allclose(graph.retrained[2], again.value)


def test_of_a_refitted_run_the_validation_rows_are_not_read(folder):
    """It has learned from them; what asks nothing of its outputs reads all."""
    run = train(
        GraphStore.open(folder / "store"), folder / "refitted", small_config(epochs=1, refit=True),
        logs=False,
    )  # fmt: skip
    for method in ("evidence", "residuals", "cka", "coregionalization", "labels"):
        graph = relate(run, method, device="cpu", controls=False)
        every = ESTIMATORS[method].reads_training_rows
        split = ("train", "valid", "test") if every else ("test",)
        again = relate(run, method, splits=split, device="cpu", controls=False)
        np.testing.assert_array_equal(graph.value, again.value)
    assert graph.n.max() > 15 >= relate(run, "cka", device="cpu", controls=False).n.max()


def test_what_relate_trains_is_trained_on_the_device_that_is_asked_for(folder):
    """A run of a GPU is read on a machine without one."""
    run = Run.load(folder / "run")
    settings = yaml.safe_load((run.path / "config.yaml").read_text())
    elsewhere = folder / "elsewhere"
    shutil.copytree(run.path, elsewhere, ignore=shutil.ignore_patterns("retrained", "probe*"))
    text = yaml.safe_dump({**settings, "device": "cuda", "store": "../store"})
    (elsewhere / "config.yaml").write_text(text)
    for method, more in (("look_ahead", {}), ("cka", {"retrainings": 1})):
        graph = relate(elsewhere, method, device="cpu", controls=False, **more)
        assert np.isfinite(graph.value[0, 1])


def test_other_rows_give_other_sizes(folder):
    one = relate(folder / "run", "labels", splits=("test",))
    both = relate(folder / "run", "labels")
    assert one.n[0, 1] < both.n[0, 1]


def test_what_cannot_be_related_is_said(folder, tmp_path):
    names = ", ".join(METHODS)
    assert names.endswith("transfer")
    with pytest.raises(UsageError, match=f"unknown method 'gain'; use one of {names}$"):
        relate(folder / "run", "gain")
    with pytest.raises(UsageError, match="retrainings must not be negative, not -1"):
        relate(folder / "run", retrainings=-1)
    with pytest.raises(UsageError, match="'labels' uses no network; leave out the retrainings"):
        relate(folder / "run", "labels", retrainings=1)
    with pytest.raises(UsageError, match="'transfer' trains with several seeds already"):
        relate(folder / "run", "transfer", retrainings=1)
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
