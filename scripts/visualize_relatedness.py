"""Relate the tasks of a trained run by all three methods, and draw them.

    python scripts/visualize_relatedness.py runs/planted -o figures/planted
    python scripts/visualize_relatedness.py runs/planted_gat/seed0 -o figures/gat --splits test

The run may come from ``gnnfusion train`` or ``scripts/train_gat.py``, on any data set or schema.
Each method answers a question of its own; docs/relatedness.md says how to read the figures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gnnfusion as gf
from gnnfusion.errors import GnnFusionError, UsageError
from gnnfusion.report.figures import plot_matrix, plot_network

METHODS = ("evidence", "labels", "attention")


def print_findings(graph: gf.TaskGraph) -> None:
    """The question, then each finding with its interval and adjusted p-value."""
    print(f"{graph.method}: {graph.question}")
    if not graph.interpretable:
        print(
            f"  {graph.control['verdict']}: {graph.control['what']} is {graph.control['value']:.4f}"
        )
    elif not graph.edges():
        print("  no pair is significant")
    for e in graph.edges():
        line = "--" if graph.symmetric else "->"
        if graph.symmetric and graph.tasks.index(e.source) > graph.tasks.index(e.target):
            continue
        print(f"  {e.source} {line} {e.target}: {e.value:.4f} ({e.low:.4f} to {e.high:.4f}), "
              f"adjusted p {e.p_adjusted:.4f}, n {e.n}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="run folder")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the figures")
    parser.add_argument("--splits", default="valid,test", help="held-out rows (default valid,test)")
    parser.add_argument("--seed", type=int, default=0, help="of bootstrap and permutations")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        run = gf.Run.load(args.run)
        for method in METHODS:
            try:
                graph = gf.relate(run, method, splits=tuple(args.splits.split(",")),
                                  seed=args.seed, device=args.device)  # fmt: skip
            except UsageError as error:
                if method != "attention":
                    raise
                print(f"attention: {error}")  # a GCN has none
                continue
            print_findings(graph)
            graph.to_json(args.out / f"{method}.json")
            plot_matrix(graph, args.out / f"{method}_matrix.png")
            plot_network(graph, args.out / f"{method}_network.png")
    except GnnFusionError as error:
        parser.exit(error.exit_code, f"{error}\n")
    print(f"figures: {args.out}")


if __name__ == "__main__":
    main()
