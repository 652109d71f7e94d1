"""All files of a task graph: JSON, GraphML, GEXF, and its two figures."""

from __future__ import annotations

from pathlib import Path

from gnnfusion.relatedness.task_graph import TaskGraph
from gnnfusion.report.figures import plot_matrix, plot_network


def write_task_graph(graph: TaskGraph, folder: Path) -> dict[str, Path]:
    """Write a task graph into a run folder; the default method's JSON is ``task_graph.json``.

    Parameters
    ----------
    graph
        What to write.
    folder
        Run folder; figures go to ``figures/`` in it.

    Returns
    -------
    dict
        What was written, by a short name.
    """
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    stem = "task_graph" if graph.method == "evidence" else f"task_graph_{graph.method}"
    made = {
        f"{graph.method} json": folder / f"{stem}.json",
        f"{graph.method} graphml": folder / f"{stem}.graphml",
        f"{graph.method} gexf": folder / f"{stem}.gexf",
        f"{graph.method} matrix": figures / f"{stem}_matrix.png",
        f"{graph.method} network": figures / f"{stem}_network.png",
    }
    writers = (graph.to_json, graph.to_graphml, graph.to_gexf)
    for write, path in zip(writers, made.values(), strict=False):
        write(path)
    plot_matrix(graph, made[f"{graph.method} matrix"])
    plot_network(graph, made[f"{graph.method} network"])
    return made
