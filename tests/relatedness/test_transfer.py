"""Transfer gains as numbers, apart from any training."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from gnnfusion.errors import RunError
from gnnfusion.relatedness.transfer import Transfer

TASKS = ("a", "b", "c", "d")
PAIRS = tuple((x, y) for i, x in enumerate(TASKS) for y in TASKS[i + 1 :])


def made(groups=PAIRS, seeds=6, noise=0.05, truth=None, **changes):
    """Losses alone of about 2; in the group g, task j loses the share `truth[g, j]` of it."""
    rng = np.random.default_rng(0)
    members = np.array([[t in g for t in TASKS] for g in groups])
    truth = rng.normal(0, 0.1, members.shape) if truth is None else truth
    alone, together = {}, {}
    for split in ("valid", "test"):
        alone[split] = 2 + noise * rng.normal(size=(seeds, 4))
        losses = 2 * (1 - truth) + noise * rng.normal(size=(seeds, len(groups), 4))
        together[split] = np.where(members, losses, np.nan)
    values = {"alone": alone, "together": together, **changes}
    return Transfer(
        tasks=TASKS, groups=groups, seeds=tuple(range(seeds)), derived=np.zeros((4, 4), bool),
        seconds=1.0, **values,
    )  # fmt: skip


def test_a_gain_is_the_share_of_the_loss_alone_that_is_saved():
    transfer = made()
    one = transfer.groups.index(("b", "d"))
    alone = transfer.alone["test"]
    for place in (1, 3):
        expected = (alone[:, place] - transfer.together["test"][:, one, place]) / alone[
            :, place
        ].mean()
        np.testing.assert_allclose(transfer.per_seed()[:, one, place], expected)
        # The mean over seeds is the gain of the mean losses.
        mean = 1 - transfer.together["test"][:, one, place].mean() / alone[:, place].mean()
        assert transfer.gains()[one, place] == pytest.approx(mean)
        assert transfer.pairs()[4 - place, place] == pytest.approx(mean)
    assert np.isnan(transfer.gains()[one, [0, 2]]).all()
    assert np.isnan(np.diag(transfer.pairs())).all()
    assert transfer.trainings == 6 * (4 + 6)


def test_of_larger_groups_a_pair_has_the_mean_over_those_with_both():
    groups = (("a", "b", "c"), ("a", "b"), ("a", "d"))
    transfer = made(groups)
    gains, pairs = transfer.gains(), transfer.pairs()
    assert pairs[1, 0] == pytest.approx(gains[[0, 1], 0].mean())
    assert pairs[2, 0] == pytest.approx(gains[0, 0])
    assert np.isnan(pairs[1, 3])  # never together
    again = transfer.pairs_per_seed()
    np.testing.assert_allclose(again.mean(0)[1, 0], pairs[1, 0])


def test_a_task_graph_has_intervals_and_tests_over_seeds():
    truth = np.zeros((6, 4))
    truth[PAIRS.index(("a", "b")), 1] = 0.5
    truth[PAIRS.index(("c", "d")), 2] = -0.5
    transfer = made(truth=truth)
    graph = transfer.graph()
    assert (graph.method, graph.question) == ("transfer", "training with i helps j")
    found = {(e.source, e.target): e for e in graph.edges()}
    assert set(found) == {("a", "b"), ("d", "c")}  # harm is a finding, too
    edge = found["a", "b"]
    assert edge.retrained_low < 0.5 < edge.retrained_high
    assert list(graph.intervals) == ["over retraining"]
    assert edge.n == 6
    values = transfer.pairs_per_seed()[:, 0, 1]
    assert edge.p_value == pytest.approx(ttest_1samp(values, 0).pvalue)
    np.testing.assert_array_equal(graph.retrained[:, 0, 1], values)
    assert "reliability over seeds" in " ".join(graph.notes)
    assert graph.value[0, 1] == transfer.pairs()[0, 1]
    one = made(seeds=1).graph()
    assert "one seed has no spread, so nothing is tested; add --seeds" in one.notes
    assert np.isnan(one.p_value).all()
    assert one.intervals == {}
    assert np.isfinite(one.value[0, 1])


def test_company_of_any_kind_is_no_finding_about_who_it_is():
    """Of groups larger than pairs: j loses 4 % with whomever it is, which is not about any i."""
    groups = (("a", "b", "c"), ("b", "c", "d"), ("a", "c", "d"), ("a", "b", "d"), TASKS)
    transfer = made(groups, noise=0.001, truth=np.full((5, 4), -0.04))
    graph = transfer.graph()
    np.testing.assert_allclose(graph.value[~np.eye(4, dtype=bool)], -0.04, atol=0.005)
    assert np.isnan(graph.p_value).all()
    assert graph.edges() == []
    assert graph.ranks_only
    assert not graph.tested
    assert not any("and tests" in note for note in graph.notes)
    assert any("no question about i, so it is not tested" in note for note in graph.notes)
    pairs = made(noise=0.001, truth=np.full((6, 4), -0.04)).graph()  # where it is about i and j
    assert len(pairs.edges()) == 12
    assert not pairs.ranks_only


def test_truth_without_signal_has_no_reliability_and_with_it_has():
    groups = PAIRS * 30  # a group more than once, for enough numbers
    quiet = made(groups, truth=np.zeros((180, 4)))
    assert abs(quiet.reliability()) < 0.15
    # Gains: variance of the signal 0.01, of the noise (0.025^2 + what alone shares) / 6.
    loud = made(groups)
    assert loud.reliability() == pytest.approx(0.01 / (0.01 + 0.025**2 / 6), abs=0.02)
    assert loud.valid_agreement()["z_pearson"] > 0.95
    assert loud.valid_agreement()["spearman"] > 0.95
    assert abs(quiet.valid_agreement()["z_pearson"]) < 0.15


def test_without_test_labels_gains_are_those_of_validation_and_the_graph_says_so():
    transfer = made()
    gone = {"test": np.full((6, 4), np.nan), "valid": transfer.alone["valid"]}
    less = made(alone=gone)
    assert less.held_out == "valid"
    np.testing.assert_array_equal(less.gains(), less.gains("valid"))
    assert "chose the epochs" in less.graph().notes[-1]
    assert np.isnan(less.valid_agreement()["z_pearson"])


def test_a_failed_training_leaves_the_other_seeds():
    transfer = made(failed=("it diverged",))
    transfer.together["test"][2, 0] = np.nan
    rest = [0, 1, 3, 4, 5]
    assert transfer.gains()[0, 0] == pytest.approx(transfer.per_seed()[rest, 0, 0].mean())
    assert "1 trainings failed: it diverged" in transfer.graph().notes
    assert transfer.graph().n[1, 0] == 5


def test_what_is_written_is_read(tmp_path):
    transfer = made((("a", "b"), ("b", "c", "d")))
    transfer.to_json(tmp_path / "transfer.json")
    again = Transfer.from_json(tmp_path / "transfer.json")
    assert (again.tasks, again.groups, again.seeds) == (
        transfer.tasks, transfer.groups, transfer.seeds,
    )  # fmt: skip
    for split in ("valid", "test"):
        np.testing.assert_array_equal(again.per_seed(split), transfer.per_seed(split))
    again.to_json(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "transfer.json").read_bytes()
    with pytest.raises(RunError, match="there are no transfer gains"):
        Transfer.from_json(tmp_path / "none.json")
    for text in ("{}", "[", '{"format": 9}', "[]"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(RunError, match=r"holds no transfer gains|another version"):
            Transfer.from_json(tmp_path / "bad.json")
