"""Would more labels help? Train a data set's settings on the labels of a part of its rows.

    python scripts/learning_curve.py mosi --shares 0.25 0.5 1 --seeds 2

The labels of the other training rows (of whole groups, where rows are grouped) are hidden; their
features stay, and so does the number of steps. The parts of one seed lie in each other, and other
seeds have other parts. Scores are on test, so the curve chooses nothing. Writes
docs/results/curve_NAME.json and docs/images/curve_NAME.png.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from parts.results import mean_and_spread, write_result  # scripts/ is where this program lies

from gnnfusion import GraphStore, TrainConfig, build, datasets
from gnnfusion.graphs.views import with_missing
from gnnfusion.report.canvas import COLOURS, INK, new_figure, quiet_axes, save
from gnnfusion.training.compare.summary import main_metric
from gnnfusion.training.evaluate import evaluate
from gnnfusion.training.fit import fit


def with_labelled_share(store: GraphStore, share: float, seed: int) -> tuple[GraphStore, int]:
    """The store with the labels of a share of the training rows alone, and how many rows that is.

    Validation rows count as training rows, for a refit trains on both.
    """
    trained = store.split != 2
    group = torch.arange(len(store)) if store.groups is None else store.groups
    names = torch.unique(group[trained])
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    kept = names[order[: max(1, round(share * len(names)))]]
    hidden = trained & ~torch.isin(group, kept)
    labels = hidden.unsqueeze(1).expand(-1, len(store.schema.tasks))
    return with_missing(store, labels), int((trained & ~hidden).sum())


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=datasets.names())
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 1.0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    a = parser.parse_args()
    config = TrainConfig.from_dict(datasets.defaults(a.name))
    found: dict[tuple[float, str, str], list[float]] = {}
    counts: dict[float, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = build(datasets.load(a.name), Path(folder) / "store", progress=False)
        for share in a.shares:
            for seed in range(a.seeds):
                less, counts[share] = with_labelled_share(store, share, seed)
                network, keeper = fit(less, replace(config, seed=seed), None)
                scores = evaluate(network, less, ("test",), given=False)["split"]["test"]
                print(f"{share:g} of the labels, seed {seed}: {keeper.seconds:.0f} s", flush=True)
                for task, metrics in scores.items():
                    for metric, value in metrics.items():
                        found.setdefault((share, task, metric), []).append(value)
    rows = [
        [share, counts[share], task, metric, *mean_and_spread(values)]
        for (share, task, metric), values in found.items()
    ]  # fmt: skip
    columns = ["share", "rows", "task", "metric", "mean", "sd over seeds"]
    write_result(a.out / f"curve_{a.name}.json", {"columns": columns, "rows": rows})
    plot(rows, {t.name: main_metric(t) for t in store.schema.tasks},
         a.out.parent / "images" / f"curve_{a.name}.png")  # fmt: skip


def plot(rows: list[list[Any]], metrics: dict[str, str], path: Path) -> None:
    """A panel for each task: its main metric over the number of labelled rows."""
    figure = new_figure(2.9 * len(metrics) + 0.3, 2.8)
    for place, (task, metric) in enumerate(metrics.items()):
        axes = figure.add_subplot(1, len(metrics), place + 1)
        quiet_axes(axes)
        x, y, spread = zip(*[(r[1], *r[4:]) for r in rows if r[2:4] == [task, metric]], strict=True)
        axes.errorbar(x, y, yerr=spread, fmt="o-", color=COLOURS[0], markersize=4, linewidth=1.2)
        axes.set_xlim(0, 1.05 * max(x))
        axes.set_title(task, fontsize=9, color=INK)
        axes.set_xlabel("training rows with labels", fontsize=8, color=INK)
        axes.set_ylabel(metric, fontsize=8, color=INK)
    figure.tight_layout()
    save(figure, path)


if __name__ == "__main__":
    main()
