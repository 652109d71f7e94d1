"""Build the graphs of a data set or a schema file, and look at one of them.

python scripts/build_graphs.py planted -o stores/planted
python scripts/build_graphs.py planted -o stores/small --option rows=60
python scripts/build_graphs.py machines/schema.yaml -o machines/store --sample 3
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import yaml

import gnnfusion as gf
from gnnfusion.errors import GnnFusionError


def pair(text: str) -> tuple[str, Any]:
    """``rows=60`` as ("rows", 60)."""
    name, _, value = text.partition("=")
    return name, yaml.safe_load(value)


def load_schema(source: str, options: dict[str, Any]) -> gf.Schema:
    """A schema file, or a data set by name with the options of its recipe."""
    if source in gf.datasets.names():
        return gf.datasets.load(source, **options)
    return gf.Schema.from_yaml(source)


def print_store(store: gf.GraphStore) -> None:
    """Samples by split, nodes by modality, labels by task."""
    sizes = ", ".join(f"{len(store.rows(s))} {s}" for s in ("train", "valid", "test"))
    print(f"{len(store)} samples: {sizes}")
    for modality in store.schema.modalities:
        nodes = store.nodes(modality.name)
        have = int((nodes.ptr.diff() > 0).sum())
        shape = "x".join(map(str, nodes.spec.shape))
        print(f"  {modality.name:12} {modality.kind:10} {have} samples, ", end="")
        print(f"{len(nodes.x)} nodes of {shape}")
    for task in store.schema.tasks:
        print(f"  {task.name:12} {task.kind:10} {int(store.mask(task.name).sum())} labels")


def print_graph(graph: Any) -> None:
    """Nodes by type and edges by relation of one sample."""
    print(f"sample {graph.graph['sample']!r}: {graph}")
    for kind, count in Counter(kind for _, kind in graph.nodes(data="type")).items():
        print(f"  {count:4} {kind} nodes")
    relations = Counter((a[0], r, b[0]) for a, b, r in graph.edges(data="relation"))
    for (source, relation, target), count in relations.items():
        print(f"  {count:4} edges {source} --{relation}--> {target}")
    for _, node in graph.nodes(data=True):
        if node["type"] == "task":
            print(f"  task {node['task']}: label {node.get('label', 'unknown')}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="name of a data set, or a schema file")
    parser.add_argument("-o", "--out", required=True, help="store to write")
    parser.add_argument("--option", type=pair, action="append", default=[], metavar="NAME=VALUE",
                        help="option of the data set, such as rows=60")  # fmt: skip
    parser.add_argument("--sample", type=int, default=0, help="row to look at")
    parser.add_argument("--workers", type=int, help="processes that read media")
    args = parser.parse_args()
    try:
        schema = load_schema(args.source, dict(args.option))
        store = gf.build(schema, args.out, workers=args.workers, progress=False)
    except GnnFusionError as error:
        parser.exit(error.exit_code, f"{error}\n")
    print_store(store)
    from gnnfusion.graphs.interop import to_networkx  # PyG takes seconds to import

    print_graph(to_networkx(store, args.sample))
    print(f"store: {args.out}")


if __name__ == "__main__":
    main()
