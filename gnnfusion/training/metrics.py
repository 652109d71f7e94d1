"""Scores of predictions, by scikit-learn and SciPy, under their names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gnnfusion.errors import SchemaError
from gnnfusion.schema import Task

Array = np.ndarray


def acc2_nonzero(y: Array, prediction: Array) -> float:
    """Share of samples with a non-zero target whose sign is predicted (MOSI)."""
    asked = y[:, 0] != 0
    return float(np.mean((y[asked, 0] > 0) == (prediction[asked, 0] > 0)))


def acc7(y: Array, prediction: Array) -> float:
    """Accuracy after rounding target and prediction to -3 .. 3 (MOSI)."""
    a, b = (np.clip(np.round(v[:, 0]), -3, 3) for v in (y, prediction))
    return float(np.mean(a == b))


def box_iou(y: Array, prediction: Array) -> Array:
    """Intersection over union of boxes (x0, y0, x1, y1), ``[n]``."""
    low = np.maximum(y[:, :2], prediction[:, :2])
    high = np.minimum(y[:, 2:], prediction[:, 2:])
    inner = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = [np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), axis=1) for b in (y, prediction)]
    return inner / np.maximum(areas[0] + areas[1] - inner, 1e-12)


EXTRA: dict[str, Callable[[Array, Array], float]] = {
    "acc2_nonzero": acc2_nonzero,
    "acc7": acc7,
    "mean_iou": lambda y, p: float(box_iou(y, p).mean()),
    "iou50": lambda y, p: float((box_iou(y, p) >= 0.5).mean()),
}


def score(task: Task, y: Array, prediction: Array, probability: Array | None) -> dict[str, float]:
    """Metrics of a task; those that are undefined on these samples are left out.

    Parameters
    ----------
    task
        Its kind decides the metrics; it may name extra ones.
    y
        True labels ``[n]`` (class index), ``[n, C]`` or ``[n, d]``.
    prediction
        As `y`.
    probability
        ``[n, C]`` for class tasks, None for regression.
    """
    if len(y) == 0:
        return {}
    if task.kind == "regression":
        result = _regression(y, prediction)
    elif task.kind == "multilabel":
        result = _multilabel(y, prediction, probability)
    else:
        result = _classes(task.kind, y, prediction, probability)
    for name in task.metrics:
        if name not in EXTRA:
            raise SchemaError(
                f"task {task.name!r} has an unknown metric {name!r}; use {', '.join(EXTRA)}"
            )
        result[name] = EXTRA[name](y, prediction)
    return {name: float(value) for name, value in result.items() if np.isfinite(value)}


def _regression(y: Array, prediction: Array) -> dict[str, float]:
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    result = {
        "mae": mean_absolute_error(y, prediction),
        "rmse": root_mean_squared_error(y, prediction),
    }
    varied = len(y) > 2 and bool(np.all(y.std(0) > 0))
    if varied:
        result["r2"] = r2_score(y, prediction)
    if varied and bool(np.all(prediction.std(0) > 0)):
        columns = range(y.shape[1])
        result["pearson"] = np.mean([pearsonr(y[:, c], prediction[:, c])[0] for c in columns])
        result["spearman"] = np.mean([spearmanr(y[:, c], prediction[:, c])[0] for c in columns])
    return result


def _classes(kind: str, y: Array, prediction: Array, probability: Array | None) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score

    result = {
        "accuracy": accuracy_score(y, prediction),
        "f1_macro": f1_score(y, prediction, average="macro", zero_division=0),
        "f1_weighted": f1_score(y, prediction, average="weighted", zero_division=0),
    }
    if kind == "ordinal":
        result["mae"] = np.abs(y - prediction).mean()
    if kind == "binary" and probability is not None and len(np.unique(y)) == 2:
        result["auroc"] = roc_auc_score(y, probability[:, 1])
        result["average_precision"] = average_precision_score(y, probability[:, 1])
    if kind == "multiclass" and probability is not None:
        present = np.unique(y)
        ovr = [roc_auc_score(y == c, probability[:, c]) for c in present if len(present) > 1]
        if ovr:
            result["auroc"] = np.mean(ovr)
    return result


def _multilabel(y: Array, prediction: Array, probability: Array | None) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

    result = {
        "accuracy": (y == prediction).mean(),
        "f1_macro": f1_score(y, prediction, average="macro", zero_division=0),
        "f1_weighted": f1_score(y, prediction, average="weighted", zero_division=0),
    }
    varied = [c for c in range(y.shape[1]) if len(np.unique(y[:, c])) == 2]
    if probability is not None and varied:
        pairs = [(y[:, c], probability[:, c]) for c in varied]
        result["auroc"] = np.mean([roc_auc_score(*p) for p in pairs])
        result["average_precision"] = np.mean([average_precision_score(*p) for p in pairs])
    return result
