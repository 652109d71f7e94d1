"""From a table to a graph store: read, split, encode labels, fit and run extractors, write."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnfusion.cells import label, number
from gnnfusion.errors import DataError, SchemaError, StoreError
from gnnfusion.features import cache, load_kind, plain_settings, read_settings
from gnnfusion.features.extract import Features, extract_features, fit_state
from gnnfusion.features.files import ArrayRow, File, Value, open_rows
from gnnfusion.graphs.build_report import REPORT, Problem, report_text
from gnnfusion.graphs.index import pack_ids
from gnnfusion.graphs.store import GraphStore
from gnnfusion.graphs.store_file import FORMAT, META, Stream, write_store
from gnnfusion.samples.dependence import Derived, find_derived, undeclared
from gnnfusion.samples.split import split_groups, split_rows
from gnnfusion.samples.table import Samples, read_samples
from gnnfusion.samples.targets import LabelProblem, Targets, encode_targets
from gnnfusion.schema import Modality, Schema
from gnnfusion.whole import write_text

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

TEST = 2


def build(
    schema: Schema | str | Path,
    store: str | Path,
    *,
    fitted: Mapping[str, Any] | None = None,
    table: str | Path | pd.DataFrame | None = None,
    workers: int | None = None,
    strict: bool = False,
    progress: bool = True,
) -> GraphStore:
    """Turn the rows of a table into a graph store.

    Everything that is fitted (vocabularies, means, classes) is fitted to training rows alone.
    A build that was killed resumes where it stopped, and its result is byte for byte that of an
    unbroken one, whatever the number of workers. A store built from the same inputs is reused.

    Parameters
    ----------
    schema
        The schema, or the path of its YAML file.
    store
        Folder to write.
    fitted
        ``store.json`` of the store a model was trained on (``GraphStore.meta``): nothing is
        fitted, label columns may be missing, bad labels are reported instead of raised, and all
        rows are ``test``.
    table
        Another table than the schema's; see `read_samples`.
    workers
        Processes that read media; None for one per CPU core.
    strict
        Fail, after listing every problem, where a value cannot be used.
    progress
        Show progress on standard error.

    Returns
    -------
    GraphStore
        The store, opened. Beside it in the folder lies ``build_report.csv``, one line for each
        value that could not be used.

    Raises
    ------
    StoreError
        The folder is there and holds something else.
    SchemaError, DataError
        See `read_samples`, `split_rows`, `encode_targets`; with `strict`, problems of media.
    """
    if not isinstance(schema, Schema):
        schema = Schema.from_yaml(schema)
    path = Path(store)
    if path.exists() and not (path / META).is_file() and (path.is_file() or any(path.iterdir())):
        raise StoreError(f"{path} exists and is no graph store; name another folder")
    samples = read_samples(schema, table, optional=_optional(schema, fitted))
    problems: list[Problem] = []
    split = (
        split_rows(schema, samples.frame, samples.ids)
        if fitted is None
        else np.full(len(samples), TEST, dtype=np.uint8)
    )
    targets = _targets(schema, samples, split, fitted, problems)
    if fitted is None:
        for derived in undeclared(schema, find_derived(targets, split)):
            problems.append(_derived_problem(schema, derived))
    extra = _context(schema, samples, problems)
    groups = split_groups(schema, samples.frame, samples.ids) if fitted is None else None
    if groups is not None:
        extra["split/group"] = groups
    # Every setting and state comes before the first long extraction, so that mistakes show early.
    inputs = [_prepare(m, samples) for m in schema.modalities]
    states = [_state(i, split, fitted) for i in inputs]
    features: dict[str, Features] = {}
    modalities: dict[str, Any] = {}
    for i, state in zip(inputs, states, strict=True):
        m = i.modality
        found = extract_features(
            m.kind, m.name, i.settings, state, m.columns, i.values, workers=workers, show=progress
        )
        features[m.name] = found
        modalities[m.name] = {
            "spec": found.spec.to_dict(),
            "settings": plain_settings(i.settings),
            "state": state,
        }
        problems += [Problem(p.row, samples.ids[p.row], p.column, p.text) for p in found.problems]
    if fitted is None:
        _check_present(features, split)
    problems.sort(key=lambda p: p.row)
    streams = _streams(samples, split, targets, features, extra)
    meta = {
        "schema": schema.to_dict(),
        "modalities": modalities,
        "tasks": {
            name: ({"classes": list(t.classes)} if t.classes else {}) for name, t in targets.items()
        },
        "inputs": cache.key(
            {name: f.digest for name, f in features.items()}, _arrays_digest(streams)
        ),
    }
    return _finish(path, meta, streams, problems, strict)


def _optional(schema: Schema, fitted: Mapping[str, Any] | None) -> list[str]:
    """Columns that a table to predict may lack."""
    if fitted is None:
        return []
    names = [c for t in schema.tasks for c in t.columns]
    names += [c for c in (schema.split.column, schema.split.group) if c is not None]
    return names


def _targets(
    schema: Schema,
    samples: Samples,
    split: np.ndarray,
    fitted: Mapping[str, Any] | None,
    problems: list[Problem],
) -> dict[str, Targets]:
    if fitted is None:
        return encode_targets(schema, samples.frame, samples.ids, split)
    classes = {t: entry.get("classes", ()) for t, entry in fitted["tasks"].items()}
    found: list[LabelProblem] = []
    targets = encode_targets(
        schema, samples.frame, samples.ids, split, classes=classes, problems=found
    )
    problems += [Problem(p.row, samples.ids[p.row], p.column, p.text) for p in found]
    return targets


def _derived_problem(schema: Schema, derived: Derived) -> Problem:
    sources = " and ".join(derived.sources)
    text = (
        f"task {derived.task!r} is an exact function of {sources} ({derived.note}); "
        f"add `derived_from: [{', '.join(derived.sources)}]` to it, or what they tell about each "
        "other will look like a finding"
    )
    logger.warning("%s", text)
    return Problem(-1, "", ", ".join(schema.task(derived.task).columns), text)


def _context(schema: Schema, samples: Samples, problems: list[Problem]) -> dict[str, np.ndarray]:
    """Group codes and order; a row that lacks one of them is alone in its group."""
    if schema.context is None:
        return {}
    names: list[str | None] = [label(c) for c in samples.column(schema.context.group)]
    order = np.zeros(len(samples), dtype=np.float64)
    for row, cell in enumerate(samples.column(schema.context.order)):
        try:
            value = number(cell)
        except ValueError:
            raise DataError(
                f"row {row} (id {samples.ids[row]!r}): the order {str(cell)[:40]!r} in column "
                f"{schema.context.order!r} is not a number; number the rows of each group"
            ) from None
        if value is None or not np.isfinite(value):
            names[row] = None
            column = schema.context.order
            text = "its order within the group is missing, so it has no context"
            problems.append(Problem(row, samples.ids[row], column, text))
        else:
            order[row] = value
    codes = {name: i for i, name in enumerate(sorted({n for n in names if n is not None}))}
    group = np.zeros(len(samples), dtype=np.int32)
    alone = len(codes)
    for row, name in enumerate(names):
        if name is None:
            group[row], alone = alone, alone + 1
        else:
            group[row] = codes[name]
    return {"context/group": group, "context/order": order}


@dataclass(frozen=True)
class _Input:
    """A modality with its checked settings and the values of its rows."""

    modality: Modality
    settings: Any
    values: list[Value]


def _prepare(m: Modality, samples: Samples) -> _Input:
    settings = read_settings(m.kind, m.name, m.extractor)
    return _Input(m, settings, _values(m, settings, samples))


def _state(given: _Input, split: np.ndarray, fitted: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the extractor learned: now from training rows, or when the model was trained."""
    m = given.modality
    if fitted is not None:
        return dict(fitted["modalities"][m.name]["state"])
    train = [given.values[row] for row in np.flatnonzero(split == 0)]
    try:
        return fit_state(m.kind, given.settings, m.columns, train)
    except (DataError, SchemaError) as error:
        raise type(error)(f"modality {m.name!r}: {error}") from error


def _values(m: Modality, settings: Any, samples: Samples) -> list[Value]:
    """What the extractor is given for each row; paths become `File`."""
    folder = str(samples.folder)
    if not m.columns:
        file = File(folder, str(settings.file))
        rows = open_rows(file)
        if len(rows) != len(samples):
            raise DataError(
                f"modality {m.name!r}: {file.name!r} has {len(rows)} rows and the table "
                f"{len(samples)}; row i of the one must belong to row i of the other"
            )
        return [(ArrayRow(file, row),) for row in range(len(samples))]
    columns = [samples.column(c) for c in m.columns]
    if load_kind(m.kind).reads_files(settings):
        numbers = m.kind == "array"  # whose cells may be numbers instead
        columns = [[_file(cell, folder, numbers) for cell in cells] for cells in columns]
    return list(zip(*columns, strict=True))


def _file(cell: Any, folder: str, numbers: bool) -> Any:
    if not isinstance(cell, str | os.PathLike):
        return cell
    name = os.fspath(cell).strip()
    if numbers:
        try:
            number(name)
            return cell
        except ValueError:
            pass
    return File(folder, name)


def _check_present(features: Mapping[str, Features], split: np.ndarray) -> None:
    for name, found in features.items():
        if not found.counts[split == 0].any():
            first = f" (the first problem: {found.problems[0].text})" if found.problems else ""
            raise DataError(
                f"modality {name!r} is missing in every training row{first}; "
                "check its column and that paths are relative to the table"
            )


def _streams(
    samples: Samples,
    split: np.ndarray,
    targets: Mapping[str, Targets],
    features: Mapping[str, Features],
    extra: Mapping[str, np.ndarray],
) -> dict[str, Stream]:
    arrays: dict[str, np.ndarray] = {**pack_ids(samples.ids), "split": split, **extra}
    for name, t in targets.items():
        arrays[f"y/{name}"], arrays[f"mask/{name}"] = t.values, t.mask
    streams = {}
    for name, f in features.items():
        arrays[f"ptr/{name}"] = np.concatenate([[0], np.cumsum(f.counts)]).astype(np.int64)
        streams[f"x/{name}"] = Stream((f.total, *f.spec.shape), f.spec.dtype, f.x_blocks)
        if f.spec.position:
            shape = (f.total, len(f.spec.position))
            streams[f"pos/{name}"] = Stream(shape, "float32", f.pos_blocks)
    return streams | {name: Stream.of(array) for name, array in arrays.items()}


def _arrays_digest(streams: Mapping[str, Stream]) -> dict[str, str]:
    """Digest of the small tensors; those of features have their own."""
    return {
        name: hashlib.blake2b(
            b"".join(np.ascontiguousarray(b).tobytes() for b in stream.blocks()), digest_size=20
        ).hexdigest()
        for name, stream in streams.items()
        if not name.startswith(("x/", "pos/"))
    }


def _finish(
    path: Path,
    meta: dict[str, Any],
    streams: Mapping[str, Stream],
    problems: Sequence[Problem],
    strict: bool,
) -> GraphStore:
    report = report_text(problems)
    unusable = [p for p in problems if p.row >= 0]
    if strict and unusable:
        where = path.with_name(path.name + ".build_report.csv")
        write_text(where, report)
        first = unusable[0]
        raise DataError(
            f"{len(unusable)} values cannot be used; the first is row {first.row} "
            f"(id {first.id!r}), column {first.column!r}: {first.problem}; all are in {where}"
        )
    if _is_same(path, meta):
        logger.info("%s was built from the same inputs; it is used as it is", path)
    else:
        write_store(path, meta, streams)
    if not (path / REPORT).is_file() or (path / REPORT).read_text(encoding="utf-8") != report:
        write_text(path / REPORT, report)
    if unusable:
        rows = len({p.row for p in unusable})
        logger.warning(
            "%d values of %d rows could not be used; see %s", len(unusable), rows, path / REPORT
        )
    return GraphStore.open(path)


def _is_same(path: Path, meta: Mapping[str, Any]) -> bool:
    """Whether a whole store made from the same inputs is there."""
    if not (path / META).is_file():
        return False
    try:
        there = GraphStore.open(path).meta
    except StoreError:
        return False
    return there == json.loads(json.dumps({"format": FORMAT, **meta}))
