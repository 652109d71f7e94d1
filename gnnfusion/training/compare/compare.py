"""The comparison itself: search settings for every method alike, train over seeds, sum up."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gnnfusion.errors import DataError, RunError, UsageError
from gnnfusion.features.workers import default_workers
from gnnfusion.graphs.store import GraphStore
from gnnfusion.training.baselines import baseline
from gnnfusion.training.compare.config import BASELINES, WeightSearch
from gnnfusion.training.compare.data import claim, on_disk
from gnnfusion.training.compare.plan import (
    Candidate,
    Trial,
    candidates,
    control_name,
    draws,
    with_settings,
)
from gnnfusion.training.compare.pool import Say, run_all
from gnnfusion.training.compare.summary import summarize
from gnnfusion.training.compare.weights import SUFFIX, judge_weights, search_weights, weighable
from gnnfusion.training.config import TrainConfig
from gnnfusion.training.evidence import kin_matrix
from gnnfusion.whole import finite, write_json

RESULT = "compare.json"
WEIGHTS = "weights.json"
READERS = "baselines.json"
SEARCH_SEED = 1_000_003  # apart from the seeds of final trainings, which are 0, 1, …


def compare(
    store: GraphStore | str | Path,
    out: str | Path,
    *,
    fusions: Sequence[str] = ("gatv2",),
    sharings: Sequence[str] = ("auto",),
    balancings: Sequence[str] = ("static",),
    seeds: int = 5,
    trials: int = 6,
    trial_seconds: float = 60.0,
    base: TrainConfig | None = None,
    jobs: int | None = None,
    budget: float | None = None,
    baselines: Sequence[str] = BASELINES,
    weights: WeightSearch | None = None,
    say: Say | None = None,
) -> dict[str, Any]:
    """Compare methods fairly, and write ``compare.json``.

    Every method gets the same draws of learning rate, width and dropout, on one seed and for the
    same time; the best on validation is trained over seeds and scored on test, once. Called again
    with the same folder, it takes up the trials that are finished.

    Parameters
    ----------
    store
        A store or its folder, with validation and test rows; of one in memory, or one seen with
        other weights, labels or splits, a copy is kept in `out`.
    out
        Folder for results.
    fusions, sharings, balancings
        Their grid is compared, without known labels; added are single-task training with the first
        fusion (the control) and, where a method reads known labels, one row that trains with them.
    seeds
        Final trainings of each method.
    trials
        Settings tried for each method; the first are those of `base`, and alone they are taken.
    trial_seconds
        Longest training in the search; the epoch that passes it is the last, and the learning rate
        falls towards it.
    base
        What all share: epochs, batch size, patience, weight decay, layers.
    jobs
        Processes at once; by default one for every core, each with one thread.
    budget
        Seconds after which no training is started. Half of it at most goes to the search (a third
        to that of settings and a third to that of weights, if both); methods are then compared on
        the trials and seeds that all of them have.
    baselines
        Simple readers beside the methods: linear, boosting.
    weights
        Search the weights of the tasks' losses by cross-validation over train + valid, too, for the
        first method that has static ones: one row more, with that method's settings.
    say
        Called with a line of progress, the finished and all trials of the phase.

    Returns
    -------
    dict
        What ``compare.json`` holds: that of `summarize`, ``settings`` chosen, ``configs``,
        ``search_epochs`` (of each trial), ``left_out`` with reasons, and counts; None where a
        number is not defined. With `weights` also ``weight_search``, as `search_weights` returns it
        with the ``difference`` that the weights make on test; the weights alone are in
        ``weights.json``.

    Raises
    ------
    UsageError
        Counts below one, methods that do not fit, none whose weights can be searched, or a folder
        of results on other data.
    MissingExtraError
        Weights are to be searched by Optuna, which is not installed.
    DataError
        No validation or test rows.
    RunError
        The budget ended before every method had one trial and one seed.
    """
    out = Path(out)
    store = store if isinstance(store, GraphStore) else GraphStore.open(store)
    if min(seeds, trials, jobs or 1) < 1:
        raise UsageError("seeds, trials and jobs must be at least 1")
    for split in ("valid", "test"):
        if len(store.rows(split)) == 0:
            raise DataError(f"the split {split!r} is empty, so methods cannot be compared")
    unknown = set(baselines) - set(BASELINES)
    if unknown:
        known = ", ".join(BASELINES)
        raise UsageError(f"unknown baseline {sorted(unknown)[0]!r}; use {known} or none")
    cores = default_workers()
    jobs = jobs or cores
    threads = max(1, cores // jobs)
    began = time.monotonic()
    evidence = 0.0 if bool(kin_matrix(store.schema).all()) else 0.5
    methods, left_out = candidates(
        store, base or TrainConfig(), fusions, sharings, balancings, evidence
    )
    claim(out, store)
    run = partial(
        run_all, store=on_disk(store, out), folder=out / "trials", jobs=jobs, threads=threads,
        say=say,
    )  # fmt: skip

    def deadline(share: float) -> float | None:
        return None if budget is None else began + share * budget

    settings = draws(trials, SEARCH_SEED)
    weighed = None if weights is None else weighable(methods, store.schema.tasks, weights)
    searched = {
        (m.name, n): Trial(candidate=m.name, config=replace(
            with_settings(m.config, s), seed=SEARCH_SEED, max_seconds=trial_seconds
        ), final=False)
        for n, s in enumerate(settings) for m in methods
    }  # fmt: skip
    results, reached, chosen = {}, trials, {m.name: 0 for m in methods}
    tried: dict[str, list[int]] = {}
    if trials > 1:  # of one setting there is nothing to choose
        results = run(
            list(searched.values()), deadline=deadline(1 / 2 if weights is None else 1 / 3)
        )
        by_trial = {place: results.get(t.key) for place, t in searched.items()}
        reached = _all_have(by_trial, methods, trials, "one trial of its settings")
        tried = {
            m.name: [
                r["epochs"] for n in range(reached)
                if (r := by_trial[m.name, n]) and "epochs" in r
            ] for m in methods
        }  # fmt: skip
        chosen, failed = _choose(by_trial, methods, reached)
        left_out |= failed
        methods = [m for m in methods if m.name in chosen]
    found_weights: dict[str, Any] | None = None
    if weighed is not None and weighed.name not in chosen:
        left_out[weighed.name + SUFFIX] = f"there are no settings of {weighed.name} to weigh with"
    elif weights is not None and weighed is not None:
        found_weights = search_weights(
            weighed, searched[weighed.name, chosen[weighed.name]].config, store.schema.tasks,
            weights, partial(run, deadline=deadline(2 / 3)),
        )  # fmt: skip
        name = weighed.name + SUFFIX
        if found_weights["weights"] is None:
            left_out[name] = found_weights["failed"]
        elif found_weights["changed"]:
            methods.append(replace(weighed, name=name, weights=found_weights["weights"]))
            chosen[name] = chosen[weighed.name]
    finals = {
        (m.name, seed): Trial(candidate=m.name, config=replace(
            with_settings(m.config, settings[chosen[m.name]]), seed=seed
        ), final=True, weights=m.weights)
        for seed in range(seeds) for m in methods
    }  # fmt: skip
    results |= run(list(finals.values()), deadline=deadline(1.0))
    by_seed = {place: results.get(t.key) for place, t in finals.items()}
    trained = _all_have(by_seed, methods, seeds, "a final training")
    kept: dict[str, list[dict[str, Any]]] = {}
    for method in methods:
        outcome = [by_seed[method.name, s] or {} for s in range(trained)]
        reasons = [r["failed"] for r in outcome if "failed" in r]
        if reasons:
            left_out[method.name] = reasons[0]
        else:
            kept[method.name] = outcome
    if not kept:
        raise RunError(f"every method failed: {next(iter(left_out.values()))}")
    simple, unread = _simple_readers(store, baselines, out / READERS)
    left_out |= unread
    summary = summarize(store.schema.tasks, kept, simple, control_name(fusions, methods))
    if found_weights is not None:
        summary |= judge_weights(found_weights, kept, summary["verdict"])
        if found_weights["weights"] is not None:
            write_json(out / WEIGHTS, {"weights": found_weights["weights"]})
    result: dict[str, Any] = finite({
        "trials": reached,
        "trial_seconds": trial_seconds,
        "seeds": trained,
        **summary,
        "settings": {name: settings[chosen[name]] for name in kept},
        "search_epochs": {name: epochs for name, epochs in tried.items() if name in kept},
        "configs": {m.name: m.config.to_dict() for m in methods if m.name in kept},
        "left_out": left_out,
        "seconds": time.monotonic() - began,
    })  # fmt: skip
    write_json(out / RESULT, result)
    return result


def _choose(
    found: dict[tuple[str, int], Any], methods: Sequence[Candidate], count: int
) -> tuple[dict[str, int], dict[str, str]]:
    """Which of the first `count` trials of each method is best, and why the others have none."""
    chosen: dict[str, int] = {}
    failed: dict[str, str] = {}
    for method in methods:
        trials = [found[method.name, n] for n in range(count)]
        scores = [r.get("score", np.inf) for r in trials if r is not None]
        if np.isfinite(min(scores)):
            chosen[method.name] = int(np.argmin(scores))
        else:
            failed[method.name] = str(trials[0]["failed"]) if trials[0] else ""
    return chosen, failed


def _simple_readers(
    store: GraphStore, names: Sequence[str], path: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """Scores on test of the baselines, and why others have none; what the folder has of them
    already is not fitted again."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    failed = {}
    for name in names:
        if name not in found:
            try:
                found[name] = baseline(store, name)["test"]
            except ValueError as error:  # scikit-learn's, of labels that it cannot read
                failed[name] = str(error).splitlines()[0]
                continue
            write_json(path, found)
    return {name: found[name] for name in names if name in found}, failed


def _all_have(
    found: dict[tuple[str, int], Any], methods: Sequence[Candidate], most: int, what: str
) -> int:
    """How many of the `most` (trials or seeds) every method has, counted from the first."""
    for count in range(most):
        missing = [m.name for m in methods if found[m.name, count] is None]
        if missing:
            if count == 0:
                raise RunError(
                    f"the budget ended before {missing[0]} had {what}; give it more time and "
                    "start again, which goes on from here"
                )
            return count
    return most
