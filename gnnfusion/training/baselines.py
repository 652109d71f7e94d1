"""Simple readers of pooled features, from scikit-learn: what a network has to beat."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnfusion.features.text import PADDING
from gnnfusion.graphs.index import owners
from gnnfusion.graphs.store import GraphStore
from gnnfusion.schema import Task
from gnnfusion.training.metrics import score

WIDEST = 256  # columns of a modality that boosting reads; of wider ones the principal axes
PENALTIES = 10.0 ** np.arange(-1, 7)  # of ridge regression


def pooled(store: GraphStore, modalities: tuple[str, ...] = ()) -> np.ndarray:
    """Features ``[S, D]``: the mean over each modality's nodes, and whether it is there.

    Cells of a table are columns of their own (categories one-hot), and so are all numbers of arrays
    that have the same number of nodes wherever they are; words are counted.

    Parameters
    ----------
    store
        The samples.
    modalities
        Which to pool; all by default.
    """
    return np.concatenate(
        [_pooled(store, name) for name in modalities or store.schema.modality_names], 1
    )


def _pooled(store: GraphStore, name: str) -> np.ndarray:
    """One modality's columns; the last says whether it is there."""
    nodes, state = store.nodes(name), store.meta["modalities"][name]["state"]
    kind = store.schema.modality(name).kind
    if kind == "tabular":
        flat = _one_hot(nodes.x, state["columns"])
    elif "vocabulary" in state:
        flat = _bag_of_words(nodes.x, len(state["vocabulary"]) + 2, PADDING)
    elif "config" in state:
        config = state["config"]
        flat = _bag_of_words(nodes.x, int(config["vocab_size"]), int(config["pad_token_id"]))
    else:
        flat = nodes.x.flatten(1).float()
    counts = nodes.ptr.diff().unsqueeze(1)
    there = counts[:, 0] > 0
    places = counts[there].unique()
    if kind == "array" and len(places) == 1:
        found = torch.zeros(len(store), int(places) * flat.shape[1])
        found[there] = flat.reshape(int(there.sum()), -1)
    else:
        found = torch.zeros(len(store), flat.shape[1]).index_add_(0, owners(nodes.ptr), flat)
        if kind != "tabular":
            found /= counts.clamp_min(1)
    return torch.cat([found, there.float().unsqueeze(1)], 1).numpy()


def _one_hot(x: Tensor, columns: list[dict[str, Any]]) -> Tensor:
    """Cells as columns of their own: the number, or one column per category."""
    sizes = [len(c["categories"]) + 1 if c["kind"] == "categorical" else 1 for c in columns]
    start = torch.tensor([0, *np.cumsum(sizes)[:-1].tolist()])
    category = torch.tensor([c["kind"] == "categorical" for c in columns])
    column = x[:, 0].long()
    place = start[column] + torch.where(category[column], x[:, 1].long(), 0)
    value = torch.where(category[column], torch.ones(len(x)), x[:, 1])
    out = torch.zeros(len(x), sum(sizes))
    out[torch.arange(len(x)), place] = value
    return out


def _bag_of_words(x: Tensor, size: int, padding: int) -> Tensor:
    """Ids as counts, of those that occur; padding does not count."""
    out = torch.zeros(len(x), size)
    out.scatter_add_(1, x.long(), torch.ones(x.shape))
    out[:, padding] = 0
    return out[:, out.any(0)]


def baseline(
    store: GraphStore,
    name: str,
    splits: tuple[str, ...] = ("test",),
    fit_splits: tuple[str, ...] = ("train", "valid"),
) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics by split, task and name of one reader per task.

    Parameters
    ----------
    store
        The samples.
    name
        ``linear``: ridge or logistic regression, its penalty by cross-validation; of all modalities
        or of a single one, whichever ridge reads better when rows are left out in turn, for one
        penalty on all lets thousands of pixels drown a zip code. ``boosting``: gradient-boosted
        trees, stopped early on a tenth of their rows; of a modality of more than `WIDEST` columns
        they read the principal axes.
    splits
        Where to score.
    fit_splits
        Rows to fit on, penalties and all.

    Returns
    -------
    dict
        Of a task without labels in a split, nothing by name.
    """
    blocks = [_pooled(store, m) for m in store.schema.modality_names]
    rows = {split: store.rows(split) for split in splits}
    result: dict[str, dict[str, dict[str, float]]] = {split: {} for split in splits}
    for task in store.schema.tasks:
        y, known = store.target(task.name).numpy(), store.mask(task.name)
        labelled = store.rows(*fit_splits)
        fitted = labelled[known[labelled]].numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of solvers that stop before their last digit
            # One reader for each label of a set; for whatever else, one.
            wanted = y[fitted].T if task.kind == "multilabel" else [y[fitted]]
            models = [_fitted(name, task, [x[fitted] for x in blocks], z) for z in wanted]
        for split, chosen in rows.items():
            asked = chosen[known[chosen]].numpy()
            if len(asked) == 0:
                result[split][task.name] = {}
                continue
            x = np.concatenate([block[asked] for block in blocks], 1)
            predicted = np.stack([m.predict(x) for m in models], -1)
            predicted = predicted.reshape(y[asked].shape)
            probability = None
            if task.kind in ("binary", "multiclass", "ordinal"):
                (model,) = models
                probability = np.zeros((len(asked), len(store.classes(task.name))))
                probability[:, model.classes_.astype(int)] = model.predict_proba(x)
            result[split][task.name] = score(task, y[asked], predicted, probability)
    return result


def _fitted(name: str, task: Task, blocks: list[np.ndarray], y: np.ndarray) -> Any:
    """The reader, fitted; of what it reads, each modality is a block of columns."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline

    ends = np.cumsum([0] + [x.shape[1] for x in blocks]).tolist()
    places = [slice(a, b) for a, b in pairwise(ends)]
    x = np.concatenate(blocks, 1)
    if name == "boosting":
        steps = [(str(p), _narrowing(b), p) for p, b in zip(places, blocks, strict=True)]
        return make_pipeline(ColumnTransformer(steps), _model(name, task, y)).fit(x, y)
    place = slice(0, ends[-1])  # all modalities
    if len(blocks) > 1:
        place = (place, *places)[_best_read(task, blocks, y)]
    read = ColumnTransformer([("read", "passthrough", place)])
    return make_pipeline(read, *_linear_steps(x[:, place]), _model(name, task, y)).fit(x, y)


def _best_read(task: Task, blocks: list[np.ndarray], y: np.ndarray) -> int:
    """What ridge reads best, rows left out in turn: 0 for all blocks, else the place of one.

    Classes are asked as indicators, and of wide blocks the axes, so that it takes seconds.
    """
    from sklearn.linear_model import RidgeCV

    target = y if task.kind == "regression" else (y[:, None] == np.unique(y)).astype(float)
    narrow = [_narrowing(x).fit_transform(x) for x in blocks]
    every = np.concatenate(narrow, 1)
    scores = [RidgeCV(PENALTIES).fit(x, target).best_score_ for x in (every, *narrow)]
    return int(np.argmax(scores))


def _narrowing(x: np.ndarray) -> Any:
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if x.shape[1] <= WIDEST:
        return StandardScaler()
    axes = PCA(min(WIDEST, len(x) - 1), svd_solver="randomized", random_state=0)
    return make_pipeline(StandardScaler(), axes)


def _linear_steps(x: np.ndarray) -> list[Any]:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    # All axes there are: what is penalized lies in the span of the rows, so the readers are the
    # same, and cost as much as there are rows, not columns.
    more = [PCA(svd_solver="full")] if x.shape[1] > len(x) else []
    return [StandardScaler(), *more]


def _model(name: str, task: Task, y: np.ndarray) -> Any:
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegressionCV, RidgeCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.multioutput import MultiOutputRegressor

    regression = task.kind == "regression"
    least = 0 if regression else int(np.unique(y, return_counts=True)[1].min())
    if least == len(y) and not regression:  # there is but one class
        return DummyClassifier()
    if name == "linear":
        if regression:
            return RidgeCV(PENALTIES)
        # Shuffled, for tables are often sorted by what they are about.
        folds = StratifiedKFold(3, shuffle=True, random_state=0)
        return LogisticRegressionCV(
            Cs=list(10.0 ** np.arange(-4.0, 1.0)), cv=folds, max_iter=300, l1_ratios=(0,),
            use_legacy_attributes=False, scoring="accuracy",
        )  # fmt: skip
    kind = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    # Stopping early takes a stratified tenth, so every class must have two rows.
    model = kind(early_stopping=regression or least > 1, random_state=0)
    return MultiOutputRegressor(model) if regression else model
