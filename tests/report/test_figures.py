"""Figures are looked at by a person; here they are drawn, and what they say is read from SVG."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gnnfusion.errors import UsageError
from gnnfusion.relatedness.task_graph import QUESTIONS, TaskGraph
from gnnfusion.report import canvas, matrix, network_plot
from gnnfusion.report import interference as interference_plot
from gnnfusion.report.captions import NOTHING
from gnnfusion.report.figures import (
    plot_history,
    plot_interference,
    plot_matrix,
    plot_network,
    plot_scores,
)


def make(count, seed=0, **changes):
    rng = np.random.default_rng(seed)
    value = rng.normal(0, 0.2, (count, count))
    half = rng.uniform(0.05, 0.15, (count, count))
    values = {
        "tasks": tuple(f"some_long_task_{n}" for n in range(count)),
        "method": "evidence",
        "question": QUESTIONS[1],
        "value": value,
        "low": value - half,
        "high": value + half,
        "p_value": np.exp(-4 * (value / half) ** 2),
        "n": np.full((count, count), 50),
        **changes,
    }
    return TaskGraph(**values)


@pytest.fixture
def texts(monkeypatch):
    """Every figure that is saved, as the list of texts drawn in it."""
    found = []

    def keep(figure, path):
        from matplotlib.text import Text

        found.append([t.get_text() for t in figure.findobj(Text)])
        return canvas.save(figure, path)

    monkeypatch.setattr(matrix, "save", keep)
    monkeypatch.setattr(network_plot, "save", keep)
    monkeypatch.setattr(interference_plot, "save", keep)
    return found


@pytest.mark.parametrize("plot", [plot_matrix, plot_network])
@pytest.mark.parametrize("count", [1, 2, 3, 6, 10, 20])
def test_every_size_is_drawn(plot, count, tmp_path):
    path = plot(make(count), tmp_path / "new" / "g.png")
    with Image.open(path) as image:
        assert min(image.size) > 300
        assert max(image.size) < 2600
    assert [p.name for p in path.parent.iterdir()] == ["g.png"]


@pytest.mark.parametrize("ending", ["svg", "pdf"])
def test_format_follows_the_ending_and_is_the_same_every_time(ending, tmp_path):
    a = plot_matrix(make(3), tmp_path / f"a.{ending}").read_bytes()
    assert a.startswith(b"%PDF" if ending == "pdf" else b"<?xml")


def test_png_is_the_same_every_time(tmp_path):
    assert (
        plot_network(make(6), tmp_path / "a.png").read_bytes()
        == plot_network(make(6), tmp_path / "b.png").read_bytes()
    )


def overlaps(figure):
    """Pairs of drawn texts whose boxes meet; those over a cell lie in cells of their own."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    shown = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    boxes = [(t.get_text(), t.get_window_extent()) for t in shown]
    out = []
    for n, (a, box) in enumerate(boxes):
        for b, other in boxes[n + 1 :]:
            wide = min(box.x1, other.x1) - max(box.x0, other.x0)
            high = min(box.y1, other.y1) - max(box.y0, other.y0)
            if wide > 1 and high > 1:
                out.append((a, b))
    return out


@pytest.mark.parametrize("count", [3, 6, 10, 20])
@pytest.mark.parametrize("module", [matrix, network_plot])
def test_no_text_covers_another_or_leaves_the_figure(module, count, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(module, "save", lambda figure, path: figures.append(figure))
    # Numbers on links are few and have a ground of their own; here only the fixed texts count.
    monkeypatch.setattr(network_plot, "_NUMBERS_UP_TO", 0)
    plot = plot_matrix if module is matrix else plot_network
    plot(make(count), tmp_path / "g.png")
    assert overlaps(figures[0]) == []
    width, height = figures[0].bbox.size
    from matplotlib.text import Text

    # A colour bar keeps ticks beyond its ends, which are not drawn.
    bar = [t for axes in figures[0].axes[1:] for t in axes.findobj(Text)]
    for text in figures[0].findobj(Text):
        if text.get_text().strip() and text not in bar:
            box = text.get_window_extent()
            assert box.x0 >= 0
            assert box.y0 >= 0
            assert box.x1 <= width
            assert box.y1 <= height


@pytest.mark.parametrize("plot", [plot_matrix, plot_network])
def test_question_and_method_are_written(plot, texts, tmp_path):
    plot(make(3), tmp_path / "g.png")
    assert QUESTIONS[1] in texts[0]
    assert any("method evidence, n = 50" in t for t in texts[0])
    assert any("adjusted p > 0.05" in t for t in texts[0])


@pytest.mark.parametrize("plot", [plot_matrix, plot_network])
def test_a_control_that_forbids_it_is_written_across(plot, texts, tmp_path):
    plot(make(4), tmp_path / "g.png")
    plot(make(4, control={"interpretable": False}), tmp_path / "h.png")
    assert "not interpretable" not in texts[0]
    assert "not interpretable" in texts[1]


def test_the_matrix_shows_value_interval_and_derived_pairs(texts, tmp_path):
    derived = np.zeros((3, 3), bool)
    derived[0, 1] = True
    graph = make(3, derived=derived)
    plot_matrix(graph, tmp_path / "g.png")
    assert texts[0].count("derived") == 2
    assert f"{graph.value[0, 2]:.2f}" in texts[0]
    assert f"{graph.low[0, 2]:.2f} … {graph.high[0, 2]:.2f}" in texts[0]


def test_both_intervals_stand_in_the_matrix_and_are_named(texts, tmp_path):
    value = make(3).value
    graph = make(3, retrained=value + np.linspace(-0.1, 0.1, 5)[:, None, None])
    plot_matrix(graph, tmp_path / "m.png")
    for low, high in graph.intervals.values():
        assert f"{low[0, 2]:.2f} … {high[0, 2]:.2f}" in texts[0]
    assert any("95 % intervals given the model and over retraining" in t for t in texts[0])
    plot_network(graph, tmp_path / "n.png")
    assert any("near and far end of both intervals" in t for t in texts[1])
    edge = next(e for e in graph.edges() if e.significant)
    ends = (edge.low, edge.high, edge.retrained_low, edge.retrained_high)
    assert f"{edge.value:.2f} ({min(ends):.2f} … {max(ends):.2f})" in texts[1]


def test_where_only_the_order_counts_colours_are_places_in_the_column(texts, tmp_path):
    value = np.array([[0, 9.0, 0.1], [0.2, 0, 0.3], [0.1, 8.0, 0]])
    graph = make(3, value=value, ranks_only=True, p_value=np.full((3, 3), np.nan))
    shade, _ = matrix._colours(graph)
    assert shade[1, 0] == shade[0, 1] == shade[1, 2] == 1  # the first of each column
    assert shade[2, 0] == shade[2, 1] == shade[0, 2] == 0
    for plot in (plot_matrix, plot_network):
        plot(graph, tmp_path / "m.png")
        assert any("only the order within a target means something" in t for t in texts[-1])
        assert any("there is no test, so no pair is a finding" in t for t in texts[-1])
        assert not any("significant" in t for t in texts[-1])


def test_without_a_test_arrows_come_from_the_first_source_of_each_target(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(
        network_plot, "_arrow",
        lambda axes, graph, places, edge, colour, *a, **k: drawn.append((edge, colour)),
    )  # fmt: skip
    value = np.array([[0, 0.9, 0.1], [0.9, 0, 0.3], [0.1, 0.3, 0]])
    plot_network(
        make(3, value=value, symmetric=True, ranks_only=True, p_value=np.full((3, 3), np.nan)),
        tmp_path / "n.png",
    )
    first = {(e.source[-1], e.target[-1]) for e, colour in drawn if colour == canvas.MORE}
    assert first == {("1", "0"), ("0", "1"), ("1", "2")}
    assert len(drawn) == 6


def test_nothing_estimated_can_be_drawn_and_is_said(texts, tmp_path):
    gone = np.full((3, 3), np.nan)
    graph = make(3, value=gone, low=gone, high=gone, p_value=gone)
    plot_matrix(graph, tmp_path / "m.png")
    plot_network(graph, tmp_path / "n.png")
    assert texts[0].count("–") == 6
    assert any("–: not estimable, for want of labels" in t for t in texts[0])
    assert any(NOTHING in t for t in texts[1])


def test_a_symmetric_pair_is_drawn_once(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(
        network_plot, "_arrow", lambda axes, graph, places, edge, *a, **k: drawn.append(edge)
    )
    value = np.full((4, 4), 0.5)
    common = {"value": value, "low": value - 0.1, "high": value + 0.1}
    graph = make(4, p_value=np.zeros((4, 4)), symmetric=True, **common)
    plot_network(graph, tmp_path / "g.png")
    assert len({(e.source, e.target) for e in drawn}) == 6


def test_many_findings_are_thinned_and_said(texts, tmp_path):
    value = np.full((20, 20), 0.5)
    common = {"value": value, "low": value - 0.1, "high": value + 0.1}
    plot_network(make(20, p_value=np.zeros((20, 20)), **common), tmp_path / "g.png")
    assert any("the 60 largest of 380 findings" in t for t in texts[0])


def test_history(tmp_path):
    rows = [
        {"epoch": str(e), "train_a": str(1 / (e + 1)), "valid_a": "", "valid_score": str(e)}
        for e in range(3)
    ]
    assert plot_history(rows, tmp_path / "h.png").stat().st_size > 1000
    many = [{"epoch": e, **{f"train_t{n}": 1.0 / (e + 1) for n in range(20)}} for e in range(2)]
    assert plot_history(many, tmp_path / "m.png").is_file()
    with pytest.raises(UsageError, match="no epoch"):
        plot_history([], tmp_path / "none.png")


def interference(tasks, epochs=3):
    return [
        {"epoch": str(e), "task_a": f"t{i}", "task_b": f"t{j}", "cosine": str((i - j) / 50),
         "magnitude_similarity": "0.5"}
        for e in range(epochs) for i in range(tasks) for j in range(i) if e != 1 or j
    ]  # fmt: skip


def test_interference(tmp_path, texts):
    assert plot_interference(interference(3), tmp_path / "i.png").stat().st_size > 1000
    plot_interference(interference(12), tmp_path / "many.png")
    assert "gradients of pairs of tasks: the 30 with most conflict of 66" in texts[1]
    assert plot_interference(interference(2, 1), tmp_path / "one.svg").is_file()
    with pytest.raises(UsageError, match="no two tasks were labelled together"):
        plot_interference([], tmp_path / "none.png")


def test_scores(tmp_path):
    scores = {
        "nothing known": {"a": {"accuracy": 0.5, "auroc": float("nan")}, "b": {"mae": 2.0}},
        "others given": {"a": {"accuracy": 0.6}},
    }
    assert plot_scores(scores, tmp_path / "s.png").stat().st_size > 1000
    with pytest.raises(UsageError, match="no scores"):
        plot_scores({"x": {}}, tmp_path / "none.png")


@pytest.mark.parametrize(
    ("values", "places"), [((12.0,), 1), ((0.5,), 2), ((0.05,), 3), ((0.004,), 4), ((), 4)]
)
def test_digits(values, places):
    assert canvas.digits(*values) == places


def test_numbers_and_names():
    assert canvas.number(-0.001, 2) == "0.00"
    assert canvas.number(-0.01, 2) == "-0.01"
    assert canvas.fold("digit_above_4") == "digit_above_4"
    assert canvas.fold("a_very_long_name_of_task", 8) == "a_very_\nlong_\nname_of_\ntask"


def test_no_global_state_is_touched(tmp_path):
    code = (
        "import sys, numpy as np; sys.path.insert(0, sys.argv[1]);"
        "from gnnfusion.report.figures import plot_scores;"
        "plot_scores({'a': {'t': {'accuracy': 1.0}}}, sys.argv[2]);"
        "assert 'matplotlib.pyplot' not in sys.modules; assert 'torch' not in sys.modules"
    )
    target = str(tmp_path / "s.png")
    subprocess.run([sys.executable, "-c", code, str(tmp_path), target], check=True, cwd=tmp_path)
