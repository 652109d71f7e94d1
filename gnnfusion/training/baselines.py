"""Simple readers of pooled features, from scikit-learn: what a network has to beat."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnfusion.features.text import PADDING
from gnnfusion.graphs.index import owners
from gnnfusion.graphs.store import GraphStore
from gnnfusion.schema import Task
from gnnfusion.training.metrics import score

WIDEST = 256  # columns that boosting reads; wider features go through their principal axes


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
    columns = []
    for name in modalities or store.schema.modality_names:
        nodes, state = store.nodes(name), store.meta["modalities"][name]["state"]
        tabular = store.schema.modality(name).kind == "tabular"
        if tabular:
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
        if store.schema.modality(name).kind == "array" and len(places) == 1:
            in_place = torch.zeros(len(store), int(places) * flat.shape[1])
            in_place[there] = flat.reshape(int(there.sum()), -1)
            columns += [in_place, there.float().unsqueeze(1)]
            continue
        total = torch.zeros(len(store), flat.shape[1]).index_add_(0, owners(nodes.ptr), flat)
        columns += [total if tabular else total / counts.clamp_min(1), (counts > 0).float()]
    return torch.cat(columns, 1).numpy()


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
        ``linear``: ridge or logistic regression, its penalty by cross-validation. ``boosting``:
        gradient-boosted trees, stopped early on a tenth of their rows; of more than `WIDEST`
        columns they read the principal axes.
    splits
        Where to score.
    fit_splits
        Rows to fit on, penalties and all.

    Returns
    -------
    dict
        Of a task without labels in a split, nothing by name.
    """
    features = pooled(store)
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
            models = [_reader(name, task, features[fitted], z).fit(features[fitted], z)
                      for z in wanted]  # fmt: skip
        for split, chosen in rows.items():
            asked = chosen[known[chosen]].numpy()
            if len(asked) == 0:
                result[split][task.name] = {}
                continue
            predicted = np.stack([m.predict(features[asked]) for m in models], -1)
            predicted = predicted.reshape(y[asked].shape)
            probability = None
            if task.kind in ("binary", "multiclass", "ordinal"):
                (model,) = models
                probability = np.zeros((len(asked), len(store.classes(task.name))))
                probability[:, model.classes_.astype(int)] = model.predict_proba(features[asked])
            result[split][task.name] = score(task, y[asked], predicted, probability)
    return result


def _reader(name: str, task: Task, x: np.ndarray, y: np.ndarray) -> Any:
    from sklearn.decomposition import PCA
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegressionCV, RidgeCV
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = task.kind == "regression"
    least = 0 if regression else int(np.unique(y, return_counts=True)[1].min())
    if least == len(y) and not regression:  # there is but one class
        return DummyClassifier()
    if name == "linear":
        model = RidgeCV(10.0 ** np.arange(-1, 7)) if regression else LogisticRegressionCV(
            Cs=list(10.0 ** np.arange(-4.0, 1.0)), cv=3, max_iter=300, l1_ratios=(0,),
            use_legacy_attributes=False,
        )  # fmt: skip
    else:
        kind = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
        # Stopping early takes a stratified tenth, so every class must have two rows.
        model = kind(early_stopping=regression or least > 1, random_state=0)
        model = MultiOutputRegressor(model) if regression else model
    steps = [StandardScaler()]
    if name == "linear" and x.shape[1] > len(x):
        # All axes there are: what is penalized lies in the span of the rows, so the readers are the
        # same, and cost as much as there are rows, not columns.
        steps.append(PCA(svd_solver="full"))
    if name == "boosting" and x.shape[1] > WIDEST:
        steps.append(PCA(min(WIDEST, len(x) - 1), svd_solver="randomized", random_state=0))
    return make_pipeline(*steps, model)
