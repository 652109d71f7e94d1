from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from gnnfusion.errors import UsageError
from gnnfusion.relatedness import combined
from gnnfusion.relatedness.agreement import company, z_pearson
from gnnfusion.relatedness.combined import (
    SLOPE,
    SLOPE_SPREAD,
    _features,
    combine,
    family_scores,
    fit_predictor,
    standard_scores,
)
from gnnfusion.relatedness.grouping import best_split
from gnnfusion.relatedness.task_graph import QUESTIONS, TaskGraph

COUNT = 8
NOTHING = np.full((COUNT, COUNT), np.nan)


def graph(method, value):
    return TaskGraph(
        tasks=tuple(f"t{n}" for n in range(COUNT)), method=method, question=QUESTIONS[2],
        value=value, low=NOTHING, high=NOTHING, p_value=NOTHING, n=np.full((COUNT, COUNT), 9),
    )  # fmt: skip


def planted(seed=0, noise=0.3):
    """A gain of each pair; ``gradient`` tells it well, ``cka`` is noise."""
    rng = np.random.default_rng(seed)
    truth = 0.1 * rng.normal(size=(COUNT, COUNT))
    graphs = {
        "gradient": graph("gradient", 10 * truth + noise * rng.normal(size=truth.shape)),
        "cka": graph("cka", rng.random(truth.shape)),
    }
    return rng, truth, graphs


def members(groups):
    return np.array([[t in g for t in range(COUNT)] for g in groups])


def gains_of(truth, inside):
    off = truth * ~np.eye(COUNT, dtype=bool)
    found = inside @ off / (inside.sum(1, keepdims=True) - 1)
    return np.where(inside, found, np.nan)


@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(-10, 10))
def test_standard_scores_forget_units_and_keep_order(seed, scale, shift):
    rng = np.random.default_rng(seed)
    value = rng.normal(size=(5, 5))
    value[0, 3] = np.nan
    scores = standard_scores(value)
    np.testing.assert_allclose(scores, standard_scores(shift + scale * value), atol=1e-6)
    known = np.isfinite(value) & ~np.eye(5, dtype=bool)
    assert known.sum() == np.isfinite(scores).sum() == 19
    assert (np.argsort(value[known]) == np.argsort(scores[known])).all()
    assert scores[known].mean() == pytest.approx(0, abs=1e-9)
    assert scores[known].std() == pytest.approx(1)
    assert not standard_scores(np.ones((3, 3)))[0, 1:].any()


def test_variants_of_one_family_count_once():
    _, _, graphs = planted()
    alone = combine(graphs).value
    more = combine({**graphs, "rsa": graph("rsa", graphs["cka"].value)}).value
    np.testing.assert_allclose(alone, more)
    scores = family_scores(graphs)
    off = ~np.eye(COUNT, dtype=bool)
    np.testing.assert_allclose(
        alone[off], (scores["gradient"][off] + scores["representation"][off]) / 2
    )


def test_a_family_that_cannot_estimate_a_pair_is_left_out_there():
    _, _, graphs = planted()
    value = graphs["cka"].value.copy()
    value[0, 1] = np.nan
    found = combine({**graphs, "cka": graph("cka", value)}).value
    assert found[0, 1] == family_scores(graphs)["gradient"][0, 1]


def test_measured_groups_teach_which_family_to_believe():
    rng, truth, graphs = planted()
    groups = list(combinations(range(COUNT), 3))
    inside = members([groups[n] for n in rng.permutation(len(groups))])
    gains = gains_of(truth, inside)
    noisy = gains + 0.01 * rng.normal(size=gains.shape)
    model = fit_predictor(graphs, inside[:10], noisy[:10])
    held = np.isfinite(gains[10:])
    fitted = np.corrcoef(model.predict(inside[10:])[0][held], gains[10:][held])[0, 1]
    scores = combine(graphs).value
    plain = np.corrcoef(gains_of(np.nan_to_num(scores), inside[10:])[held], gains[10:][held])[0, 1]
    assert fitted > plain + 0.05
    assert fitted > 0.85


def test_few_noisy_gains_do_not_turn_an_estimator_round():
    """Of noise alone the slope is what it is believed to be, and its spread says how surely."""
    rng, _, graphs = planted()
    inside = members(list(combinations(range(COUNT), 3))[:6])
    slopes = []
    for _ in range(30):
        gains = np.where(inside, rng.normal(size=inside.shape), np.nan)
        model = fit_predictor({"gradient": graphs["gradient"]}, inside, gains)
        slopes.append(model.mean[1] / np.nanstd(gains))
        assert 0 < model.covariance[1, 1] <= (SLOPE_SPREAD * np.nanstd(gains)) ** 2 * 1.01
    assert np.mean(slopes) > 0.2
    assert np.mean(np.array(slopes) > 0) > 0.7
    turned = fit_predictor({"gradient": graphs["gradient"]}, inside, gains_of(
        -3 * np.nan_to_num(standard_scores(graphs["gradient"].value)), inside))  # fmt: skip
    assert turned.mean[1] < 0  # gains that are clear do


def test_fits_are_averaged_by_how_likely_they_are():
    """Held to a grid of two: means by weight, and their spread beside that within each."""
    rng, truth, graphs = planted()
    one = {"gradient": graphs["gradient"]}
    inside = members(list(combinations(range(COUNT), 3))[:8])
    gains = gains_of(truth, inside) + 0.05 * rng.normal(size=inside.shape)

    def fitted(noises):
        with pytest.MonkeyPatch.context() as m:
            m.setattr(combined, "RATIOS", (0.1,))
            m.setattr(combined, "OWN", (0.3,))
            m.setattr(combined, "NOISES", noises)
            return fit_predictor(one, inside, gains)

    first, second, both = fitted((0.8,)), fitted((1.0,)), fitted((0.8, 1.0))
    # The share of the first, from the noise, which is averaged, too.
    share = (both.noise**2 - second.noise**2) / (first.noise**2 - second.noise**2)
    x = _features(both.scores, inside)[inside]
    y, scale = gains[inside], gains[inside].std()
    drawn = scale * np.array([combined.FLAT, SLOPE_SPREAD, 0.1, *[0.3] * COUNT])

    def likelihood(noise):
        mean = SLOPE * scale * x[:, 1]
        return multivariate_normal(mean, (x * drawn**2) @ x.T + noise**2 * np.eye(len(y))).logpdf(y)

    odds = np.exp(likelihood(second.noise) - likelihood(first.noise))
    assert share == pytest.approx(1 / (1 + odds), abs=1e-3)
    assert 0.05 < share < 0.95
    np.testing.assert_allclose(both.mean, share * first.mean + (1 - share) * second.mean, rtol=1e-6)
    apart = first.mean - second.mean
    within = share * first.covariance + (1 - share) * second.covariance
    expected = within + share * (1 - share) * np.outer(apart, apart)
    np.testing.assert_allclose(both.covariance[1:, 1:], expected[1:, 1:], rtol=1e-4, atol=1e-9)


def test_measured_gains_tell_where_company_is_worse_than_none():
    rng, truth, graphs = planted()
    truth = truth - 0.05  # many groups do harm
    groups = list(combinations(range(COUNT), 3))
    inside = members([groups[n] for n in rng.permutation(len(groups))])[:15]
    model = fit_predictor(graphs, inside, gains_of(truth, inside))

    def gained(split):
        return sum(np.nansum(gains_of(truth, members([g]))) for g in split if len(g) > 1)

    assert gained(model.split(COUNT)) > 0
    assert gained(model.split(COUNT)) > gained(best_split(combine(graphs).value, COUNT))
    split = model.split(3)
    assert sorted(t for g in split for t in g) == list(range(COUNT))
    expected = model.predict(members([(0, 3)]))[0]
    np.testing.assert_allclose(model.worth([(2,), (3, 0)]), [0, np.nansum(expected)])
    value, error = model.value(split)
    assert value == pytest.approx(model.worth(split).sum() / COUNT)
    draws = np.random.default_rng(0).multivariate_normal(model.mean, model.covariance, 4000)
    drawn = [replace(model, mean=m).value(split)[0] for m in draws[:1000]]
    assert error == pytest.approx(np.std(drawn), rel=0.1)
    assert model.value(tuple((t,) for t in range(COUNT))) == (0, 0)


def test_the_stated_uncertainty_is_that_of_the_expectation():
    """Of many data sets, a standardized error of the expectation has a spread of about one."""
    errors = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        _, _, graphs = planted(seed)
        weights = np.array([0.02, 0.06, 0.03, -0.03, *0.02 * rng.normal(size=COUNT)])
        groups = [tuple(rng.choice(COUNT, 3, replace=False)) for _ in range(20)]
        inside = members(groups)
        truth = _features(family_scores(graphs), inside) @ weights
        model = fit_predictor(graphs, inside[:10], truth[:10] + 0.03 * rng.normal(size=(10, COUNT)))
        expected, spread = model.predict(inside[10:])
        errors.append(np.nanmean(((expected - truth[10:]) / spread) ** 2))
    assert 0.5 < np.mean(errors) < 2.5


def test_the_next_groups_are_those_whose_members_are_known_the_least():
    """The mean over members counts, so the largest groups are not always chosen."""
    _, truth, graphs = planted()
    first = members(list(combinations(range(COUNT), 3))[:5])
    model = fit_predictor(graphs, first, gains_of(truth, first))
    inside = members([g for n in (2, 3, 6, 8) for g in combinations(range(COUNT), n)])
    chosen = model.next_groups(inside, 4)
    assert len(set(chosen)) == 4
    variance = np.nanmean(model.predict(inside)[1] ** 2, axis=1)
    assert variance[chosen[0]] == pytest.approx(variance.max())
    assert inside[chosen[0]].sum() < COUNT
    # The second as if the first were measured, whatever its gains.
    x = _features(model.scores, inside)
    at = x[chosen[0]][inside[chosen[0]]]
    precision = np.linalg.inv(model.covariance) + at.T @ at / model.noise**2
    after = replace(model, covariance=np.linalg.inv(precision))
    variance = np.nanmean(after.predict(inside)[1] ** 2, axis=1)
    variance[chosen[0]] = 0
    assert variance[chosen[1]] == pytest.approx(variance.max(), rel=1e-6)


def test_chosen_groups_teach_no_less_than_drawn_ones():
    """Agreement with the gains of all other groups, mean of 40 data sets: 0.75 and 0.77."""
    every = members([g for n in range(2, COUNT + 1) for g in combinations(range(COUNT), n)])
    found = []
    for seed in range(40):
        rng, truth, graphs = planted(seed)
        gains = company(truth - 0.03, every)
        measured = gains + 0.03 * rng.normal(size=gains.shape)
        sizes = every.sum(1)
        weight = 1 / np.bincount(sizes)[sizes]  # as `sample_groups`: all sizes alike
        drawn = rng.choice(len(every), 10, replace=False, p=weight / weight.sum())
        first, rest = drawn[:5], np.setdiff1d(range(len(every)), drawn[:5])
        model = fit_predictor(graphs, every[first], measured[first])
        chosen = np.concatenate([first, rest[model.next_groups(every[rest], 5)]])
        held = np.setdiff1d(rest, [*drawn, *chosen])
        found.append([
            float(z_pearson(fitted.predict(every[held])[0], gains[held]))
            for fitted in (fit_predictor(graphs, every[s], measured[s]) for s in (chosen, drawn))
        ])  # fmt: skip
    chosen, drawn = np.mean(found, axis=0)
    assert chosen > drawn - 0.02
    assert drawn > 0.6


def test_what_cannot_be_combined_is_said():
    _, truth, graphs = planted()
    with pytest.raises(UsageError, match="there is no task graph to combine"):
        combine({})
    inside = members([(0, 1)])
    with pytest.raises(UsageError, match="at least three measured gains"):
        fit_predictor(graphs, inside, gains_of(truth, inside))
