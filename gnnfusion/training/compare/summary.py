"""From finished trials to a table, paired differences and one honest sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gnnfusion.schema import Task

LEVEL = 0.05  # of the verdict: chance of one false claim in a comparison
LOWER = ("rmse",)  # main metrics of which less is better


def main_metric(task: Task) -> str:
    """The metric by which a task's gains are counted: accuracy where it has classes, else the root
    mean squared error."""
    return "rmse" if task.kind == "regression" else "accuracy"


def relative_gain(
    tasks: Sequence[Task],
    found: Mapping[str, Mapping[str, float]],
    control: Mapping[str, Mapping[str, float]],
) -> float:
    r"""Mean over tasks of the relative gain over single-task training, in percent.

    .. math:: \Delta = \frac{100}{T} \sum_t (-1)^{l_t} \frac{M_t - S_t}{S_t}

    with M the method's main metric, S that of the control, and l = 1 where less is better (Maninis
    et al., `arXiv:1904.08918 <https://arxiv.org/abs/1904.08918>`_). NaN without common tasks.
    """
    gains = []
    for task in tasks:
        name = main_metric(task)
        ours, theirs = found.get(task.name, {}).get(name), control.get(task.name, {}).get(name)
        if ours is not None and theirs:
            gains.append((ours - theirs) / theirs * (-1 if name in LOWER else 1))
    return 100 * float(np.mean(gains)) if gains else float("nan")


class Difference(NamedTuple):
    """A mean difference of test scores, its 95 % interval and the p-value of none."""

    value: float
    low: float
    high: float
    p_value: float


def paired_difference(ours: np.ndarray, theirs: np.ndarray) -> Difference:
    r"""Difference of two methods' test scores, with what other rows and trainings would change.

    The squared standard error is :math:`s_d^2/n + s_a^2/k_a + s_b^2/k_b`, with d the n differences
    by sample of the mean over seeds, and a, b the means over samples of each method's k trainings;
    t with the degrees of freedom of Satterthwaite (1946), as in the test of Welch. Noise that a
    training has on single samples counts in both parts, so the test is rather too careful: of equal
    methods of three seeds at most 5 % are told apart.

    Parameters
    ----------
    ours, theirs
        Shares of the test score ``[seeds, samples]``, of the same samples. Of one seed nothing is
        known about other trainings: the interval is of these, and there is no p-value (NaN).
    """
    from scipy.stats import t

    by_sample = ours.mean(0) - theirs.mean(0)
    parts = [by_sample] + [m.mean(1) for m in (ours, theirs) if len(m) > 1]
    squares = np.array([p.var(ddof=1) / len(p) for p in parts])
    freedom = np.array([len(p) - 1 for p in parts])
    value, error = float(by_sample.mean()), float(np.sqrt(squares.sum()))
    if error == 0:  # every sample and seed says the same
        half, p_value = 0.0, float(value == 0)
    else:
        degrees = squares.sum() ** 2 / (squares**2 / freedom).sum()
        half = error * float(t.ppf(0.975, degrees))
        p_value = 2 * float(t.sf(abs(value) / error, degrees))
    several = len(ours) > 1 and len(theirs) > 1
    return Difference(value, value - half, value + half, p_value if several else float("nan"))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for how many they are, after Holm (1979): the chance of a single false
    claim among all of them stays below what is asked."""
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values)
    out = np.empty_like(values)
    steps = values[order] * np.arange(len(values), 0, -1)
    out[order] = np.maximum.accumulate(steps).clip(max=1)
    return out.tolist()


def summarize(
    tasks: Sequence[Task],
    finals: Mapping[str, Sequence[Mapping[str, Any]]],
    baselines: Mapping[str, Mapping[str, Mapping[str, float]]],
    control: str,
) -> dict[str, Any]:
    """What the comparison found, best validation score first.

    Parameters
    ----------
    tasks
        The schema's.
    finals
        Per method its final trials, one a seed.
    baselines
        Per simple reader its metrics on test.
    control
        The method that trains each task alone.

    Returns
    -------
    dict
        ``methods``: one row each with ``valid_score``, ``test_score`` and their spreads over seeds,
        ``gain`` over the control, ``parameters``, ``seconds``, ``metrics`` (task, name: mean and
        spread), ``difference`` of test score from the method that validation prefers, its interval
        ``low`` to ``high``, its p-value ``p_adjusted`` for how many differences there are (`holm`)
        and whether it is ``apart``; ``baselines``; ``main_metrics`` of the tasks; ``best``;
        ``verdict``.
    """
    order = sorted(finals, key=lambda m: np.mean([r["score"] for r in finals[m]]))
    scores = {m: np.array([r["sample_scores"] for r in finals[m]]) for m in finals}
    single = _mean_metrics(finals[control]) if control in finals else {}
    gaps = [paired_difference(scores[name], scores[order[0]]) for name in order[1:]]
    adjusted = [1.0, *holm([gap.p_value for gap in gaps])]
    rows = []
    for name, gap, p in zip(order, [Difference(0.0, 0.0, 0.0, 1.0), *gaps], adjusted, strict=True):
        results = finals[name]
        rows.append({
            "name": name,
            "seeds": len(results),
            **_spread("valid_score", [r["score"] for r in results]),
            **_spread("test_score", scores[name].mean(1)),
            "gain": relative_gain(tasks, _mean_metrics(results), single),
            "parameters": results[0]["parameters"],
            "seconds": float(np.mean([r["seconds"] for r in results])),
            "metrics": {
                task: {m: _pair([r["metrics"]["test"][task].get(m, np.nan) for r in results])
                       for m in values}
                for task, values in results[0]["metrics"]["test"].items()
            },
            "difference": gap.value, "low": gap.low, "high": gap.high,
            "p_adjusted": p, "apart": p <= LEVEL,
        })  # fmt: skip
    simple = {
        name: {"metrics": found, "gain": relative_gain(tasks, found, single)}
        for name, found in baselines.items()
    }
    return {
        "methods": rows,
        "baselines": simple,
        "main_metrics": {task.name: main_metric(task) for task in tasks},
        "control": control,
        "best": order[0],
        "verdict": verdict(rows, simple),
    }


def verdict(rows: Sequence[Mapping[str, Any]], baselines: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence on what wins, what ties and what does not lose to a simple reader."""
    best, others = rows[0], rows[1:]
    ties = [r["name"] for r in others if not r["apart"]]
    better = [r["name"] for r in others if r["apart"] and r["difference"] < 0]
    text = f"Validation prefers {best['name']} (test score {best['test_score']:.3f})"
    if better:
        text += f", but on test {_listed(better)} {'is' if len(better) == 1 else 'are'} better"
    if ties:
        text += (
            f"; {len(ties)} of {len(others)} other methods cannot be told apart from it on these "
            f"test rows and seeds ({_listed(ties)})"
        )
        if best["seeds"] == 1:
            text += ", for one seed each says nothing of other trainings"
    elif others and not better:
        text += ", and no other method comes within its error"
    for name, reader in baselines.items():
        # Readers have no losses by sample to be compared by, so all that is said is their gains.
        if reader["gain"] > best["gain"]:
            text += (
                f"; the simple reader {name} has a gain of {reader['gain']:+.1f} %, that method "
                f"{best['gain']:+.1f} % (main metrics, no interval)"
            )
    return text + "."


def _listed(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _mean_metrics(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    return {
        task: {m: float(np.mean([r["metrics"]["test"][task].get(m, np.nan) for r in results]))
               for m in values}
        for task, values in results[0]["metrics"]["test"].items()
    }  # fmt: skip


def _pair(values: Sequence[float]) -> list[float]:
    return [float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0]


def _spread(name: str, values: Any) -> dict[str, float]:
    mean, spread = _pair(values)
    return {name: mean, f"{name}_sd": spread}
