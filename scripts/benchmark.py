"""How fast are batches, layers and training steps, beside what a user would otherwise write?

    python scripts/benchmark.py
    python scripts/benchmark.py --device cuda

On samples of the planted exam, at several batch sizes: making a batch beside PyG's
`Batch.from_data_list`; two layers of GATv2 beside PyG's `HeteroConv` on the same graph; reading a
graph again with each task's label shown, without and with what these passes have in common reused;
and a training step (forward and backward) of each fusion beside concatenation's. The contenders
take turns, one round after the other, and the medians of the rounds count; what matters is their
ratio.
On the CPU it is CPU time of one thread, which other programs hardly lengthen. Writes
docs/results/benchmark_DEVICE.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from parts.inputs import planted_store  # scripts/ is where this program lies
from parts.results import write_result
from torch_geometric.data import Batch
from torch_geometric.nn import GATv2Conv, HeteroConv

from gnnfusion import GraphStore, datasets
from gnnfusion.graphs.batch import GraphBatch, make_batch, topology_of
from gnnfusion.nn.config import NetworkConfig
from gnnfusion.nn.fusion import FUSIONS, make_fusion
from gnnfusion.nn.fusion.trunk import GraphTypes
from gnnfusion.nn.network import network_for
from gnnfusion.nn.reuse import reusing
from gnnfusion.training.evidence import only_shown
from gnnfusion.training.objective import task_losses

CONFIG = NetworkConfig(fusion="gatv2", width=64, layers=2, heads=4, dropout=0.0)
RIVAL = "concat"
WARM_UP = 2


def timed(contenders: dict[str, Callable[[], Any]], rounds: int, device: str) -> dict[str, float]:
    """Median seconds of a call of each contender; they take turns, so that all meet one noise."""

    def now() -> float:
        if device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    found: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(WARM_UP + rounds):
        for name, call in contenders.items():
            began = now()
            call()
            if turn >= WARM_UP:
                found[name].append(now() - began)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def batching(store: GraphStore, rows: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """Graphs of many samples as one, from the store or from a list of PyG's graphs."""
    topology = topology_of(store)
    graphs = make_batch(store, rows, topology).to_pyg().to_data_list()
    return {
        "HeteroData list": lambda: Batch.from_data_list(graphs),
        "make_batch": lambda: make_batch(store, rows, topology),
    }


def layers(batch: GraphBatch, width: int) -> dict[str, Callable[[], Any]]:
    """Two layers of GATv2, forward and backward: as a stack of `HeteroConv`, and as our fusion."""
    torch.manual_seed(0)
    device = batch.rows.device
    types = GraphTypes(tuple(batch.nodes), batch.tasks, tuple(batch.edges))
    graph = batch.to_pyg()
    h = {t: torch.randn(graph[t].num_nodes, width, device=device) for t in graph.node_types}
    ours = make_fusion(types, CONFIG).to(device)

    def layer() -> HeteroConv:
        out = width // CONFIG.heads
        conv = {
            kind: GATv2Conv((width, width), out, CONFIG.heads, add_self_loops=False)
            for kind in graph.edge_types
        }
        return HeteroConv(conv).to(device)

    theirs = [layer() for _ in range(CONFIG.layers)]

    def hetero_conv() -> None:
        x = h
        for each in theirs:
            x = {**x, **{t: v.relu() for t, v in each(x, graph.edge_index_dict).items()}}
        x["task"].sum().backward()

    return {"HeteroConv": hetero_conv, "gatv2": lambda: ours(h, batch).sum().backward()}


def passes(store: GraphStore, batch: GraphBatch) -> dict[str, Callable[[], Any]]:
    """Outputs with no label shown, then with each task's: what relatedness by evidence reads.

    Modalities are encoded once by either contender.
    """
    shown = [None, *(only_shown(batch.masks, task=t) for t in range(len(batch.tasks)))]

    def reading(fusion: str, within: Callable[[], AbstractContextManager[None]]) -> Any:
        torch.manual_seed(0)
        network = network_for(store, replace(CONFIG, fusion=fusion)).to(batch.rows.device).eval()

        @torch.no_grad()
        def call() -> None:
            encoded = network.encode_modalities(batch)
            with within():
                for each in shown:
                    network(batch, each, encoded)

        return call

    return {
        f"{fusion}{words}": reading(fusion, within)
        for fusion in ("gatv2", "sage")
        for words, within in (("", nullcontext), (", reusing", reusing))
    }


def steps(store: GraphStore, batch: GraphBatch) -> dict[str, Callable[[], Any]]:
    """Forward and backward through the whole network, for each fusion."""

    def step(name: str) -> Callable[[], Any]:
        torch.manual_seed(0)
        network = network_for(store, replace(CONFIG, fusion=name)).to(batch.rows.device)

        def call() -> None:
            network.zero_grad()
            out = network(batch)
            task_losses(network, out, batch, batch.masks).sum().backward()

        return call

    return {name: step(name) for name in (RIVAL, *(f for f in FUSIONS if f != RIVAL))}


def main() -> None:
    """Time and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 256, 2048], metavar="SAMPLES")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    store = planted_store(datasets.planted_arrays("planted_v1", seed=0))
    rows = []
    for size in a.sizes:
        chosen = torch.arange(size) % len(store)
        batch = make_batch(store, chosen, topology_of(store)).to(a.device)
        for what, contenders, device in (
            ("batch", batching(store, chosen), "cpu"),
            ("layers", layers(batch, CONFIG.width), a.device),
            ("passes", passes(store, batch), a.device),
            ("step", steps(store, batch), a.device),
        ):
            seconds = timed(contenders, a.rounds, device)
            rival = next(iter(seconds.values()))
            for name, value in seconds.items():
                rows.append([what, size, name, 1e3 * value, size / value, value / rival])
                print(*rows[-1], flush=True)
    device = torch.cuda.get_device_name() if a.device == "cuda" else "one CPU thread"
    columns = ["what", "samples", "contender", "ms", "samples/s", "time over the first's"]
    write_result(a.out / f"benchmark_{a.device}.json",
                 {"device": device, "columns": columns, "rows": rows})  # fmt: skip


if __name__ == "__main__":
    main()
