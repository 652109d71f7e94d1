"""A network for each group of tasks: nothing is shared between groups, all within one."""

import pytest
import torch
import yaml
from outputs import labels_for, run, with_tasks
from random_stores import make_network, make_store
from small_runs import small_config, small_store

from gnnfusion.errors import UsageError
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.network import network_for
from gnnfusion.nn.sharing.grouped import all_groups
from gnnfusion.relatedness.relate import relate
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.fit import fit, train
from gnnfusion.training.run import Run

GROUPS = (("t2", "t0"), ("t1",))


@pytest.fixture(scope="module")
def store():
    return make_store(samples=10, missing=0.3)


@pytest.mark.parametrize("sharing", ["auto", "hard", "mmoe"])
def test_a_group_is_the_network_of_a_schema_with_its_tasks_alone(store, sharing):
    """Labels of its own tasks are read where the sharing can, those of other groups never."""
    torch.manual_seed(3)
    config = NetworkConfig(width=8, heads=2, sharing=sharing, groups=GROUPS)
    network = network_for(store, config).eval()
    assert set(network.networks) == {"t0", "t1"}
    shown = labels_for(network, store, 0)
    assert (shown is not None) == (sharing == "auto")
    found = run(network, store, range(10), shown)
    assert list(found) == ["t0", "t1", "t2"]
    for names, places in ((("t0", "t2"), [0, 2]), (("t1",), [1])):
        alone = with_tasks(store, [t for t in store.schema.tasks if t.name in names])
        torch.manual_seed(3)
        own = network_for(alone, NetworkConfig(width=8, heads=2, sharing=sharing)).eval()
        visible = None if shown is None else shown[:, places]
        for task, out in run(own, alone, range(10), visible).items():
            torch.testing.assert_close(found[task], out)


def test_all_tasks_in_one_group_are_one_network_and_groups_of_one_are_single(store):
    every = ("t0", "t1", "t2")
    for groups, sharing, other in (
        ((every,), "auto", {}),
        (tuple((t,) for t in every), "hard", {"sharing": "single"}),
    ):
        torch.manual_seed(0)
        config = NetworkConfig(width=8, heads=2, sharing=sharing, groups=groups)
        network = network_for(store, config).eval()
        torch.manual_seed(0)
        plain = network_for(store, NetworkConfig(width=8, heads=2, **other)).eval()
        a, b = (run(n, store, range(10)) for n in (network, plain))
        assert all(torch.equal(a[t], b[t]) for t in every)


def test_single_tasks_have_a_network_each_and_take_no_groups(store):
    network = make_network(store, sharing="single")
    assert set(network.networks) == {"t0", "t1", "t2"}
    assert not network.reads_labels
    with pytest.raises(UsageError, match="'single' has a group for every task; leave out the gr"):
        make_network(store, sharing="single", groups=GROUPS)


def test_names_of_parameters_do_not_depend_on_the_order_of_groups_or_tasks(store):
    one = make_network(store, groups=GROUPS)
    other = make_network(store, groups=(("t1",), ("t0", "t2")))
    assert list(one.state_dict()) == list(other.state_dict())
    other.load_state_dict(one.state_dict())
    a, b = (run(n, store, range(10)) for n in (one, other))
    assert all(torch.equal(a[t], b[t]) for t in a)


def test_groups_learn_what_each_learns_alone(tmp_path):
    """Loss weights (1 / T) scale gradients, which Adam undoes up to its epsilon."""
    store = small_store(missing=0.3, unlabelled=0.4)

    def config(**network):
        network = NetworkConfig(width=8, heads=2, dropout=0.2, **network)
        return small_config(network=network, refit=True, clip=1e9, epochs=2, evidence=0.0)

    together, _ = fit(store, config(groups=GROUPS), None)
    for names in (("t0", "t2"), ("t1",)):
        alone = with_tasks(store, [t for t in store.schema.tasks if t.name in names])
        own, _ = fit(alone, config(), None)
        a, b = (run(n, s, range(70)) for n, s in ((together, store), (own, alone)))
        for task in names:
            torch.testing.assert_close(a[task], b[task], rtol=1e-2, atol=1e-3)


def test_tasks_that_no_group_names_are_alone():
    tasks = ("a", "b", "c", "d")
    assert all_groups(tasks, [("d", "b")]) == [("a",), ("b", "d"), ("c",)]
    with pytest.raises(UsageError, match="a group names 'x', which is no task; use a, b, c, d"):
        all_groups(tasks, [("a", "x")])
    for twice in ([("a", "b"), ("b", "c")], [("a", "a")]):
        with pytest.raises(UsageError, match=r"the groups name task '[ab]' twice"):
            all_groups(tasks, twice)
    with pytest.raises(UsageError, match=r"a group of network\.groups names no task"):
        NetworkConfig(groups=((), ("a",)))


def test_a_run_with_groups_is_read_back_resumed_and_refused_with_others(tmp_path):
    store = small_store(tmp_path / "store")
    network = NetworkConfig(width=8, heads=2, groups=GROUPS)
    made = train(store, tmp_path / "run", small_config(epochs=1, network=network), logs=False)
    read = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert read["network"]["groups"] == [["t2", "t0"], ["t1"]]
    card = (tmp_path / "run/README.md").read_text()
    assert "sharing task_nodes within groups (t2, t0; t1), " in card
    assert TrainConfig.from_dict({k: v for k, v in read.items() if k != "store"}).network == network
    again = train(store, tmp_path / "run", small_config(epochs=1, network=network), logs=False)
    assert again == made == Run.load(tmp_path / "run")
    assert made.evaluate(device="cpu")["split"] == made.metrics["split"]
    assert made.metrics["split_given_others"]["test"].keys() == {"t0", "t1", "t2"}
    assert relate(made, "evidence", device="cpu").method == "evidence"
    with pytest.raises(UsageError, match="tasks of different groups share no network"):
        relate(made, "attention", device="cpu")
    with pytest.raises(UsageError, match="holds a run with another 'network'"):
        train(store, tmp_path / "run", small_config(epochs=1), logs=False)
    wrong = NetworkConfig(width=8, heads=2, groups=(("t0", "t7"),))
    with pytest.raises(UsageError, match="a group names 't7', which is no task"):
        train(store, tmp_path / "other", small_config(epochs=1, network=wrong), logs=False)
    assert not (tmp_path / "other").exists()
