"""Run an extractor over all rows: in chunks, cached by content, in several processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnnfusion.errors import DataError
from gnnfusion.features import cache, load_kind, plain_settings
from gnnfusion.features.cache import Chunk
from gnnfusion.features.files import File, Partial, Value, digest
from gnnfusion.features.nodes import Nodes, NodeSpec
from gnnfusion.features.progress import progress
from gnnfusion.features.workers import default_workers, run_jobs


@dataclass(frozen=True)
class FeatureProblem:
    """A value that cannot be used, or only in part."""

    row: int
    column: str
    text: str


@dataclass(frozen=True)
class Features:
    """Extracted nodes of one modality, kept in the cache and read block by block.

    Parameters
    ----------
    spec
        Layout of the nodes.
    counts
        Nodes of each row, int64 ``[S]``.
    problems
        What could not be used.
    digest
        Digest of everything the nodes were made of.
    """

    spec: NodeSpec
    counts: np.ndarray
    problems: list[FeatureProblem]
    digest: str
    jobs: tuple[_Job, ...]
    keys: tuple[str, ...]

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def x_blocks(self) -> Iterator[np.ndarray]:
        """Features, ``[n, *shape]`` per chunk of rows."""
        for chunk in self._chunks():
            yield chunk.x

    def pos_blocks(self) -> Iterator[np.ndarray]:
        """Positions, ``[n, P]`` per chunk of rows."""
        for chunk in self._chunks():
            yield chunk.pos

    def _chunks(self) -> Iterator[Chunk]:
        for job, key in zip(self.jobs, self.keys, strict=True):
            chunk = cache.read_chunk(key)
            if chunk is None:  # damaged or deleted since it was written
                again = _work(job)
                chunk = cache.read_chunk(key) if again.key == key else None
            if chunk is None:
                raise DataError(f"files of modality {job.modality!r} changed; build again")
            yield chunk


def fit_state(
    kind: str,
    settings: Any,
    columns: Sequence[str],
    values: Sequence[Value],
) -> dict[str, Any]:
    """What the extractor learns from the values of training rows, cached by their content."""
    module = load_kind(kind)
    if module.FIT_ROWS is not None and len(values) > module.FIT_ROWS:
        chosen = np.linspace(0, len(values) - 1, module.FIT_ROWS).astype(int)
        values = [values[i] for i in chosen]
    if not any(isinstance(cell, File) for value in values for cell in value):
        return module.fit(settings, columns, values)
    digests = [digest(v).hex() for v in values]
    key = cache.key("fit", kind, module.VERSION, plain_settings(settings), list(columns), digests)
    state = cache.read_json(key)
    if state is None:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # sums must not depend on how many threads share them
            state = module.fit(settings, columns, values)
        cache.write_json(key, state)
    return state


def extract_features(
    kind: str,
    modality: str,
    settings: Any,
    state: Mapping[str, Any],
    columns: Sequence[str],
    values: Sequence[Value],
    *,
    workers: int | None = None,
    show: bool = True,
) -> Features:
    """Nodes of every row.

    Rows are worked on in chunks of fixed size in row order; the chunk is the unit of caching and
    of resuming, and the nodes are the same bytes whatever the number of workers.

    Parameters
    ----------
    workers
        Processes; None for one per CPU core.
    show
        Show progress.

    Raises
    ------
    DataError
        A worker process died, or the cache cannot be written.
    """
    module = load_kind(kind)
    if hasattr(module, "require"):
        module.require(settings)
    size = module.CHUNK
    jobs = tuple(
        _Job(kind, modality, settings, dict(state), start, tuple(values[start : start + size]))
        for start in range(0, len(values), size)
    )
    processes = (workers or default_workers()) if module.parallel(settings) else 1
    keys, counts = [], []
    problems: list[FeatureProblem] = []
    with progress(modality, len(values), show) as advance:
        for job, done in zip(jobs, run_jobs(_work, jobs, processes), strict=True):
            keys.append(done.key)
            counts.append(done.counts)
            for row, column, text in done.problems:
                name = columns[column] if columns and column < len(columns) else modality
                problems.append(FeatureProblem(job.start + row, name, text))
            advance(len(job.values))
    return Features(
        spec=module.spec(settings, state),
        counts=np.concatenate(counts) if counts else np.zeros(0, np.int64),
        problems=problems,
        digest=cache.key(keys),
        jobs=jobs,
        keys=tuple(keys),
    )


@dataclass(frozen=True)
class _Job:
    kind: str
    modality: str
    settings: Any
    state: dict[str, Any]
    start: int
    values: tuple[Value, ...]


@dataclass(frozen=True)
class _Done:
    key: str
    counts: np.ndarray
    problems: list[tuple[int, int, str]]


def _work(job: _Job) -> _Done:
    """Make one chunk and cache it, unless it is cached already."""
    module = load_kind(job.kind)
    key = cache.key(
        "chunk",
        job.kind,
        module.VERSION,
        plain_settings(job.settings),
        job.state,
        [digest(v).hex() for v in job.values],
    )
    chunk = cache.read_chunk(key)
    if chunk is None:
        results = module.extract(job.settings, job.state, job.values)
        chunk = _pack(module.spec(job.settings, job.state), results)
        cache.write_chunk(key, chunk)
    return _Done(key, chunk.counts, chunk.problems)


def _pack(spec: NodeSpec, results: Sequence[Nodes | Partial | str]) -> Chunk:
    """Nodes of consecutive rows in one array; a row with NaN or infinite features has none."""
    xs, poss, problems = [], [], []
    counts = np.zeros(len(results), dtype=np.int64)
    for row, result in enumerate(results):
        if isinstance(result, str):
            problems.append((row, 0, result))
            continue
        if isinstance(result, Partial):
            problems += [(row, column, text) for column, text in result.problems]
            result = result.nodes
        _check(spec, result)
        if result.x.dtype.kind == "f" and not np.isfinite(result.x).all():
            problems.append((row, 0, "its features are NaN or infinite"))
            continue
        counts[row] = len(result)
        xs.append(result.x)
        poss.append(result.pos)
    x = np.concatenate(xs) if xs else np.zeros((0, *spec.shape))
    pos = np.concatenate(poss) if poss else np.zeros((0, len(spec.position)))
    return Chunk(
        np.ascontiguousarray(x, dtype=spec.dtype),
        np.ascontiguousarray(pos, dtype=np.float32),
        counts,
        problems,
    )


def _check(spec: NodeSpec, nodes: Nodes) -> None:
    """An extractor must keep to its own layout; a slip here is a bug, not bad data."""
    assert nodes.x.shape[1:] == spec.shape, (nodes.x.shape, spec)
    assert nodes.pos.shape == (len(nodes.x), len(spec.position)), (nodes.pos.shape, spec)
    assert nodes.x.dtype == np.dtype(spec.dtype), (nodes.x.dtype, spec)
