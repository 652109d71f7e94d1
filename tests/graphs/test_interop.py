import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_stores import cases, make_store
from torch_geometric.data import Batch, HeteroData
from torch_geometric.nn import GATv2Conv, HeteroConv, SAGEConv, to_hetero

from gnnfusion.errors import DataError
from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.interop import to_data_list, to_networkx
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.topology import TASK
from gnnfusion.schema import Context


def batch_of(store, rows=None):
    return make_batch(store, store.rows() if rows is None else rows, topology_of(store))


def assert_same_graph(a, b):
    """Equal in types, keys and every value."""
    assert a.to_dict().keys() == b.to_dict().keys()
    for kind in (*a.node_types, *a.edge_types):
        assert set(a[kind].keys()) == set(b[kind].keys())
        for key in a[kind].keys():  # noqa: SIM118 (a PyG store is not a mapping)
            assert a[kind][key].dtype == b[kind][key].dtype
            assert torch.equal(a[kind][key], b[kind][key])


# -- to PyG -----------------------------------------------------------------------------------


@given(cases())
@settings(max_examples=30)
def test_the_batch_is_a_true_pyg_batch_that_comes_apart_into_its_samples(store):
    """`to_data_list` of the batch gives each sample's graph as it is alone, in local indices."""
    whole = batch_of(store).to_pyg()
    assert isinstance(whole, Batch)
    assert isinstance(whole, HeteroData)
    assert whole.num_graphs == len(store)
    parts = whole.to_data_list()
    assert len(parts) == len(store)
    for row, part in enumerate(parts):
        (alone,) = batch_of(store, torch.tensor([row])).to_pyg().to_data_list()
        assert set(part.node_types) == {*store.schema.modality_names, TASK}
        for kind in part.node_types:
            assert torch.equal(part[kind].x, alone[kind].x)
        for kind in part.edge_types:
            found = part[kind].edge_index.T.tolist()
            assert sorted(found) == sorted(alone[kind].edge_index.T.tolist())
        for place, task in enumerate(store.schema.task_names):
            assert torch.equal(part[f"y_{task}"], store.target(task)[[row]])
            assert part[f"mask_{task}"].item() == store.masks[row, place].item()


def test_the_batch_is_that_which_pyg_makes_of_the_parts():
    """Where every sample has every type, PyG's own collate is the reference."""
    store = make_store(("vector", "bytes"), missing=0.0, samples=6)
    rows = torch.arange(1, 6)
    ours = batch_of(store, rows).to_pyg()
    theirs = Batch.from_data_list(ours.to_data_list())
    for kind in ours.node_types:
        assert torch.equal(ours[kind].x, theirs[kind].x)
        assert torch.equal(ours[kind].batch, theirs[kind].batch)
        assert torch.equal(ours[kind].ptr, theirs[kind].ptr)
    for kind in ours.edge_types:
        assert torch.equal(ours[kind].edge_index, theirs[kind].edge_index)
    for task in store.schema.task_names:
        assert torch.equal(ours[f"y_{task}"], theirs[f"y_{task}"])


class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = SAGEConv((-1, -1), 8), SAGEConv((-1, -1), 3)

    def forward(self, x, edge_index):
        return self.b(self.a(x, edge_index).relu(), edge_index)


def features(data):
    return {k: data[k].x.unsqueeze(1).flatten(1).float() for k in data.node_types}


def test_pyg_models_run_on_it():
    rules = [{"informs": {"modality": m}} for m in ("m0", "m1")]
    rules += [{"asks": {"modality": m}} for m in ("m0", "m1")] + [{"relates": {}}]
    store = make_store(("vector", "window"), topology=rules)
    data = batch_of(store).to_pyg()
    assert not data["m0"].x[data["m0"].batch == 0].numel()  # the first sample has nothing
    model = to_hetero(Plain(), data.metadata())
    out = model(features(data), data.edge_index_dict)
    assert out[TASK].shape == (len(store) * 3, 3)
    convs = {k: GATv2Conv((-1, -1), 4, add_self_loops=False) for k in data.edge_types}
    layer = HeteroConv(convs)
    out = layer(features(data), data.edge_index_dict)
    out[TASK].sum().backward()
    # What PyG computes on the whole is what it computes on each sample.
    for row, part in enumerate(data.to_data_list()):
        alone = layer(features(part), part.edge_index_dict)
        torch.testing.assert_close(alone[TASK], out[TASK][3 * row : 3 * row + 3])


# -- from PyG ---------------------------------------------------------------------------------


def random_graphs(count, seed, lacking=0.3):
    """Graphs with node types a and b and three relations, each lacking some of them."""
    draw = torch.Generator().manual_seed(seed)
    graphs = []
    for _ in range(count):
        graph = HeteroData()
        sizes = {}
        for name, shape in (("a", (3,)), ("b", (2, 2))):
            if torch.rand((), generator=draw) < lacking:
                continue
            sizes[name] = int(torch.randint(0, 4, (), generator=draw))
            graph[name].x = torch.randn(sizes[name], *shape, generator=draw)
            if name == "a":
                graph[name].pos = torch.randn(sizes[name], 2, generator=draw)
        for kind in (("a", "near", "a"), ("a", "on", "b"), ("b", "under", "a")):
            if not {kind[0], kind[2]} <= sizes.keys() or torch.rand((), generator=draw) < lacking:
                continue
            n = int(torch.randint(0, 5, (), generator=draw))
            n = n if sizes[kind[0]] and sizes[kind[2]] else 0
            ends = [
                torch.randint(0, max(sizes[e], 1), (n,), generator=draw) for e in (kind[0], kind[2])
            ]
            graph[kind].edge_index = torch.stack(ends)
            if kind[1] == "near":
                graph[kind].edge_attr = torch.randn(n, 2, generator=draw)
        graphs.append(graph)
    return graphs


@given(st.integers(1, 6), st.integers(0, 10**6))
@settings(max_examples=50)
def test_graphs_come_back_exactly(count, seed):
    """from_pyg then to_data_list: all values equal; a type that a graph lacked is empty in it."""
    graphs = random_graphs(count, seed)
    if not any(g.node_types for g in graphs):
        return
    back = GraphStore.from_pyg(graphs).to_data_list()
    types = ({t for g in graphs for t in g.node_types}, {t for g in graphs for t in g.edge_types})
    assert len(back) == count
    for before, after in zip(graphs, back, strict=True):
        assert (set(after.node_types), set(after.edge_types)) == types
        for kind in (*after.node_types, *after.edge_types):
            held = before[kind] if kind in (*before.node_types, *before.edge_types) else None
            for key in after[kind].keys():  # noqa: SIM118
                if held is None:
                    assert after[kind][key].numel() == 0
                else:
                    assert after[kind][key].dtype == held[key].dtype
                    assert torch.equal(after[kind][key], held[key])
    # A second round changes nothing at all.
    for a, b in zip(back, GraphStore.from_pyg(back).to_data_list(), strict=True):
        assert_same_graph(a, b)


def test_complete_graphs_come_back_as_they_were(tmp_path):
    graphs = random_graphs(5, 0, lacking=0.0)
    store = GraphStore.from_pyg(graphs, ids=list("vwxyz"))
    for a, b in zip(graphs, store.to_data_list(), strict=True):
        assert_same_graph(a, b)
    store.save(tmp_path / "store")
    again = GraphStore.open(tmp_path / "store")
    assert again.ids() == list("vwxyz")
    for a, b in zip(graphs[3:], again.to_data_list(torch.tensor([3, 4])), strict=True):
        assert_same_graph(a, b)


def three_graphs():
    """Text only; text and image; image only."""
    graphs = [HeteroData(), HeteroData(), HeteroData()]
    for i in (0, 1):
        graphs[i]["text"].x = torch.full((2, 4), float(i))
    for i in (1, 2):
        graphs[i]["image"].x = torch.full((3, 5), float(i))
    return graphs


def test_pyg_drops_a_modality_that_the_first_graph_lacks_and_the_store_keeps_it():
    """PyG issues #7147 and #10801."""
    graphs = three_graphs()
    dropped = Batch.from_data_list(graphs[:2])
    assert "image" not in dropped.node_types  # three nodes gone without a word
    store = GraphStore.from_pyg(graphs)
    kept = batch_of(store).to_pyg()
    assert set(kept.node_types) == {"text", "image"}
    assert kept["text"].ptr.tolist() == [0, 2, 4, 4]
    assert kept["image"].ptr.tolist() == [0, 0, 3, 6]
    assert kept["image"].x[:, 0].tolist() == [1, 1, 1, 2, 2, 2]
    parts = kept.to_data_list()
    assert [p["image"].num_nodes for p in parts] == [0, 3, 3]
    assert [p["text"].num_nodes for p in parts] == [2, 2, 0]


def broken(change):
    graphs = three_graphs()
    change(graphs[1])
    return graphs


def set_y(g):
    g.y = torch.tensor(1)


def set_name(g):
    g["text"].name = "x"


def drop_x(g):
    del g["text"].x


def widen(g):
    g["text"].x = torch.zeros(2, 9)


def retype(g):
    g["image"].x = g["image"].x.double()


def name_task(g):
    g["task"].x = torch.zeros(1, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_y, "graph 1 has the attribute 'y', which a store cannot hold"),
        (set_name, "graph 1: 'text' has 'name', which a store cannot hold"),
        (drop_x, "graph 1: node type 'text' is reserved or has no x"),
        (name_task, "graph 1: node type 'task' is reserved or has no x"),
        (widen, r"graph 1: x of 'text' is \(9,\) torch.float32, elsewhere \(4,\)"),
        (retype, r"x of 'image' is \(5,\) torch.float"),
    ],
)
def test_what_a_store_cannot_hold_is_said(change, words):
    with pytest.raises(DataError, match=words):
        GraphStore.from_pyg(broken(change))


# -- networkx ---------------------------------------------------------------------------------


@given(cases(samples=5))
@settings(max_examples=20)
def test_networkx_has_the_same_nodes_and_edges(store):
    for row in (0, 4):
        batch = batch_of(store, torch.tensor([row]))
        graph = to_networkx(store, row)
        assert isinstance(graph, nx.MultiDiGraph)
        assert graph.graph["sample"] == str(row)
        kinds = [data["type"] for _, data in graph.nodes(data=True)]
        for name, nodes in batch.nodes.items():
            assert kinds.count(name) == len(nodes.x)
        assert kinds.count(TASK) == len(batch.tasks)
        found = sorted((a, d["relation"], b) for a, b, d in graph.edges(data=True))
        expected = sorted(
            ((kind[0], a), kind[1], (kind[2], b))
            for kind, edges in batch.edges.items()
            for a, b in edges.index.T.tolist()
        )
        assert found == expected
        for place, task in enumerate(batch.tasks):
            data = graph.nodes[(TASK, place)]
            assert data["task"] == task
            assert ("label" in data) == bool(store.masks[row, place])


def test_networkx_says_which_nodes_are_context():
    store = make_store(
        ("vector",), context=Context(group="g", order="o"), missing=0.0, split=[0] * 8
    )
    row = 3
    units, _, offsets = store.units(torch.tensor([row]))
    sizes = store.nodes("m0").ptr.diff()
    expected = [o for u, o in zip(units.tolist(), offsets.tolist(), strict=True)
                for _ in range(int(sizes[u]))]  # fmt: skip
    graph = to_networkx(store, row)
    found = [graph.nodes[("m0", i)]["offset"] for i in range(len(expected))]
    assert found == expected
    assert set(found) - {0}


def test_data_list_of_some_rows_in_any_order():
    store = make_store(missing=0.0)
    parts = to_data_list(store, torch.tensor([5, 2]))
    for row, part in zip((5, 2), parts, strict=True):
        (alone,) = store.to_data_list(torch.tensor([row]))
        assert_same_graph(part, alone)
