"""Planted clips: is the box found better by fusion than by the mean box or by pictures alone?

    python scripts/planted_box.py --seeds 3

The picture-only networks have the same convolutions and head, and see frames and the box task
alone; one reads keypoints, as the fusion does, the other a grid of places. Fusion is trained on the
box alone (as a group of its own in ``network.groups`` would be; a modality is left out of a sample
with probability 0.1, which was better on validation rows), and on all tasks together. Writes
docs/results/planted_box.json.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from parts.results import write_result  # scripts/ is where this program lies

from gnnfusion import GraphStore, TrainConfig, build, datasets
from gnnfusion.training.evaluate import outputs, scores
from gnnfusion.training.fit import fit
from gnnfusion.training.metrics import box_iou


def box_scores(store: GraphStore, config: TrainConfig) -> list[float]:
    """Mean IoU and share with IoU >= 0.5 on test."""
    network, _ = fit(store, config, None)
    test = store.rows("test")
    found = scores(network, store, test, outputs(network, store, test))["box"]
    return [found["mean_iou"], found["iou50"]]


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    a = parser.parse_args()
    config = TrainConfig.from_dict(datasets.defaults("planted"))
    schema = datasets.load("planted")
    frames, task = schema.modality("frames"), schema.task("box")
    alone = {
        "pictures alone, keypoints": replace(schema, modalities=(frames,), tasks=(task,)),
        "pictures alone, 4 x 4 grid": replace(
            schema, modalities=(replace(frames, encoder={}),), tasks=(task,)
        ),
    }
    methods = {
        **{name: (s, config) for name, s in alone.items()},
        "fusion of all, box alone": (
            replace(schema, tasks=(task,)), replace(config, modality_dropout=0.1)
        ),
        "fusion of all, all tasks": (schema, config),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        fused = build(schema, Path(folder) / "fused", progress=False)
        known, train, test = fused.mask("box"), fused.rows("train"), fused.rows("test")
        y = fused.target("box").numpy()
        mean = y[train[known[train]].numpy()].mean(0)
        truth = y[test[known[test]].numpy()]
        overlap = box_iou(truth, np.broadcast_to(mean, truth.shape))
        results = {"mean box": [[float(overlap.mean()), float((overlap >= 0.5).mean())]]}
        for name, (asked, settings) in methods.items():
            store = build(asked, Path(folder) / name, progress=False)
            results[name] = [box_scores(store, replace(settings, seed=s)) for s in range(a.seeds)]
            print(name, results[name], flush=True)
    rows = []
    for name, values in results.items():
        spread = np.std(values, axis=0, ddof=1) if len(values) > 1 else np.zeros(2)
        means = np.mean(values, axis=0)
        rows.append([name, float(means[0]), float(spread[0]), float(means[1]), float(spread[1])])
    columns = ["method", "mean IoU", "sd over seeds", "share with IoU >= 0.5", "sd over seeds"]
    result = {"settings": config.to_dict(), "columns": columns, "rows": rows}
    write_result(a.out / "planted_box.json", result)


if __name__ == "__main__":
    main()
