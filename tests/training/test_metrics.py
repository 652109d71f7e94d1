import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from gnnfusion.errors import SchemaError
from gnnfusion.schema import Task
from gnnfusion.training.metrics import EXTRA, acc2_nonzero, acc7, box_iou, score


def task(kind, **more):
    return Task(name="t", kind=kind, **more)


def draw(classes=3, n=40, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), n)
    return rng.integers(0, classes, n), p.argmax(1), p


def test_binary():
    y, prediction, p = draw(2)
    found = score(task("binary"), y, prediction, p)
    assert found == pytest.approx({
        "accuracy": np.mean(y == prediction),
        "f1_macro": sk.f1_score(y, prediction, average="macro"),
        "f1_weighted": sk.f1_score(y, prediction, average="weighted"),
        "auroc": sk.roc_auc_score(y, p[:, 1]),
        "average_precision": sk.average_precision_score(y, p[:, 1]),
    })  # fmt: skip


def test_multiclass():
    """The area under the curve is the mean of one against the rest."""
    y, prediction, p = draw(4, 80)
    found = score(task("multiclass"), y, prediction, p)
    assert set(found) == {"accuracy", "f1_macro", "f1_weighted", "auroc"}
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"))
    assert found["f1_macro"] == pytest.approx(sk.f1_score(y, prediction, average="macro"))


def test_ordinal_counts_steps():
    found = score(task("ordinal"), np.array([0, 1, 3]), np.array([0, 3, 2]), None)
    assert found["mae"] == pytest.approx(1.0)
    assert found["accuracy"] == pytest.approx(1 / 3)


def test_multilabel():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, (50, 3)), rng.random((50, 3))
    y[:, 2] = 0  # a label that never occurs has no curve
    found = score(task("multilabel", columns=("a", "b", "c")), y, (p > 0.5).astype(int), p)
    assert found["accuracy"] == pytest.approx(np.mean(y == (p > 0.5)))
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(y[:, :2], p[:, :2], average="macro"))
    assert found["average_precision"] == pytest.approx(
        sk.average_precision_score(y[:, :2], p[:, :2], average="macro")
    )


def test_regression():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(30, 2))
    prediction = y + rng.normal(size=(30, 2))
    found = score(task("regression", columns=("a", "b")), y, prediction, None)
    assert found == pytest.approx({
        "mae": np.abs(y - prediction).mean(),
        "rmse": np.sqrt(((y - prediction) ** 2).mean(0)).mean(),
        "r2": sk.r2_score(y, prediction),
        "pearson": np.mean([stats.pearsonr(y[:, c], prediction[:, c])[0] for c in (0, 1)]),
        "spearman": np.mean([stats.spearmanr(y[:, c], prediction[:, c])[0] for c in (0, 1)]),
    })  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "y", "p"),
    [
        ("binary", np.array([1, 1]), np.array([[0.4, 0.6], [0.9, 0.1]])),
        ("multiclass", np.array([2, 2]), np.array([[0.4, 0.5, 0.1], [0.9, 0.1, 0.0]])),
        ("regression", np.array([[1.0], [1.0], [1.0]]), None),
        ("regression", np.array([[1.0]]), None),
    ],
)
def test_what_is_undefined_is_left_out(kind, y, p):
    prediction = np.array(y) if p is None else p.argmax(1)
    found = score(task(kind), y, prediction, p)
    assert found
    assert all(np.isfinite(v) for v in found.values())
    assert not {"auroc", "average_precision", "r2", "pearson"} & found.keys()


def test_no_samples_have_no_scores():
    assert score(task("binary"), np.zeros(0), np.zeros(0), np.zeros((0, 2))) == {}


def test_mosi_metrics():
    """Zero targets are left out of acc2; acc7 rounds and clips to -3 .. 3."""
    y = np.array([[0.0], [1.2], [-0.4], [3.0], [-2.6]])
    prediction = np.array([[-5.0], [0.9], [0.1], [4.4], [-3.4]])
    assert acc2_nonzero(y, prediction) == pytest.approx(3 / 4)
    assert acc7(y, prediction) == pytest.approx(4 / 5)


BOXES = st.tuples(*[st.integers(0, 6)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)


@given(BOXES, BOXES)
@settings(max_examples=100)
def test_iou_counts_cells(a, b):
    """On whole coordinates: cells in both over cells in either."""
    cells = [
        {(x, y) for x in range(x0, x1) for y in range(y0, y1)} for x0, y0, x1, y1 in (a, b)
    ]  # fmt: skip
    either = len(cells[0] | cells[1])
    expected = len(cells[0] & cells[1]) / either if either else 0.0
    found = box_iou(np.array([a], float), np.array([b], float))
    assert found[0] == pytest.approx(expected)


def test_a_box_inside_out_overlaps_nothing():
    assert box_iou(np.array([[0, 0, 2, 2.0]]), np.array([[2, 2, 0, 0.0]]))[0] == 0


def test_extra_metrics_are_those_the_task_names():
    boxes = task("regression", columns=tuple("abcd"), metrics=("mean_iou", "iou50"))
    y = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [1, 1, 3, 3]], float)
    prediction = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [0, 0, 1, 1]], float)
    found = score(boxes, y, prediction, None)
    assert found["mean_iou"] == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert found["iou50"] == pytest.approx(1 / 3)
    assert not EXTRA.keys() & score(task("regression"), y, prediction, None).keys()
    with pytest.raises(SchemaError, match="unknown metric 'iou'; use acc2_nonzero, acc7"):
        score(task("regression", metrics=("iou",)), y, prediction, None)
