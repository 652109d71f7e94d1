"""The model card that lies in a run folder as README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gnnfusion.nn.sharing import sharing_name

if TYPE_CHECKING:
    from gnnfusion.training.run import Run


def model_card(run: Run, history: list[dict[str, float]]) -> str:
    """Markdown: what was trained on what, how well it does, how to use it."""
    config, schema = run.config, run.schema
    named = "; ".join(", ".join(group) for group in config.network.groups)
    groups = f" within groups ({named})" if named else ""
    lines = [
        f"# {run.path.name}",
        "",
        f"Fusion by {config.network.fusion} ({config.network.layers} layers, "
        f"width {config.network.width}, {run.metrics['parameters']:,} parameters), "
        f"sharing {sharing_name(config.network)}{groups}, "
        f"balanced by {config.balancing}, "
        f"trained by gnnfusion for {len(history)} epochs with seed {config.seed}.",
        "",
        "Modalities: " + ", ".join(f"{m.name} ({m.kind})" for m in schema.modalities) + ".",
        "Tasks: " + ", ".join(f"{t.name} ({t.kind})" for t in schema.tasks) + ".",
        "",
        "| split | task | metric | no label known | other labels known |",
        "|---|---|---|---|---|",
    ]
    given = run.metrics["split_given_others"]
    for split, tasks in run.metrics["split"].items():
        for task, metrics in tasks.items():
            for name, value in metrics.items():
                other = given.get(split, {}).get(task, {}).get(name)
                shown = "" if other is None else f"{other:.4f}"
                lines.append(f"| {split} | {task} | {name} | {value:.4f} | {shown} |")
    lines += [
        "",
        "Predict new rows: `gnnfusion predict RUN TABLE -o predictions.csv`.",
        "",
    ]
    return "\n".join(lines)
