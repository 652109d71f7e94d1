"""From finished trials to a table, paired differences and one honest sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gnnfusion.schema import Task

DRAWS, PIECE = 4000, 500  # of the bootstrap, and how many at a time
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


def paired_difference(
    ours: np.ndarray, theirs: np.ndarray, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Mean difference of two methods' test scores and its 95 % interval.

    Parameters
    ----------
    ours, theirs
        Shares of the test score ``[seeds, samples]``, of the same samples.
    rng
        Of the bootstrap, which draws samples (the same for both methods) and, for each method,
        seeds: what is claimed then holds for other rows and other trainings.
    """
    drawn = np.concatenate([_differences(ours, theirs, PIECE, rng) for _ in range(DRAWS // PIECE)])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(ours.mean() - theirs.mean()), float(low), float(high)


def _differences(
    ours: np.ndarray, theirs: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Mean differences over drawn samples and seeds, by how often each is drawn, ``[draws]``."""

    def shares(size: int) -> np.ndarray:
        return rng.multinomial(size, np.full(size, 1 / size), draws) / size

    rows = shares(ours.shape[1])
    first, second = ((shares(len(m)) @ m * rows).sum(1) for m in (ours, theirs))
    found: np.ndarray = first - second
    return found


def summarize(
    tasks: Sequence[Task],
    finals: Mapping[str, Sequence[Mapping[str, Any]]],
    baselines: Mapping[str, Mapping[str, Mapping[str, float]]],
    control: str,
    seed: int = 0,
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
    seed
        Of the bootstrap.

    Returns
    -------
    dict
        ``methods``: one row each with ``valid_score``, ``test_score`` and their spreads over seeds,
        ``gain`` over the control, ``parameters``, ``seconds``, ``metrics`` (task, name: mean and
        spread), ``difference`` of test score from the method that validation prefers, ``low`` and
        ``high``; ``baselines``; ``main_metrics`` of the tasks; ``best``; ``verdict``.
    """
    rng = np.random.default_rng(seed)
    order = sorted(finals, key=lambda m: np.mean([r["score"] for r in finals[m]]))
    scores = {m: np.array([r["sample_scores"] for r in finals[m]]) for m in finals}
    single = _mean_metrics(finals[control]) if control in finals else {}
    rows = []
    for name in order:
        results, best = finals[name], scores[order[0]]
        gap = (0.0, 0.0, 0.0) if name == order[0] else paired_difference(scores[name], best, rng)
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
            **dict(zip(("difference", "low", "high"), gap, strict=True)),
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
    ties = [r["name"] for r in others if r["low"] <= 0 <= r["high"]]
    better = [r["name"] for r in others if r["high"] < 0]
    text = f"Validation prefers {best['name']} (test score {best['test_score']:.3f})"
    if better:
        text += f", but on test {_listed(better)} {'is' if len(better) == 1 else 'are'} better"
    if ties:
        text += (
            f"; {len(ties)} of {len(others)} other methods cannot be told apart from it on these "
            f"test rows and seeds ({_listed(ties)})"
        )
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
