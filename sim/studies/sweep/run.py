"""A sweep: points to workers, rows to the store, a sample to the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import groupby
from random import Random
from typing import Any

from sim.studies.sweep.axes import Point
from sim.studies.sweep.evaluate import Question, Row, decisive, evaluate
from sim.studies.sweep.store import Store

SMALLEST, LARGEST = 16, 256
"""Points that a worker takes at once: more than a message costs, few enough to lose when a worker dies."""
CHUNKS = 8
"""Chunks for each worker, if points are many enough: the last ones even out what the others took."""
LEAST_TRUST, TRUST_SHARE = 20, 0.1
Told = Callable[[int], None]


def run_points(
    question: Question,
    points: Sequence[Point],
    store: Store,
    *,
    jobs: int = 1,
    backend: Callable[[], AbstractContextManager[Any]] = nullcontext,
    told: Told = lambda _: None,
) -> None:
    """Evaluate the points that the store lacks and append their rows as they come; ``told`` hears how many came.

    ``backend`` opens a joblib backend, which then decides where the ``jobs`` run. A cluster evaluates the points of a
    worker that dies again; whatever comes twice is stored once.
    """
    missing = [point for point in points if point.digest(question.digest) not in store.rows]
    size = min(LARGEST, max(SMALLEST, len(missing) // (CHUNKS * max(jobs, 1))))
    chunks = list(_chunked(missing, size))
    for rows in _evaluated(question, chunks, jobs, backend):
        store.append(rows)
        told(len(rows))


def _chunked(points: Sequence[Point], size: int) -> Iterator[list[Point]]:
    """Chunks of about so many points; those that can be simulated side by side stay together as far as that goes."""
    chunk: list[Point] = []
    for _, alike in groupby(sorted(points, key=decisive), key=decisive):
        group = list(alike)
        if len(chunk) + len(group) > size and chunk:
            yield chunk
            chunk = []
        chunk += group
        while len(chunk) > size:
            yield chunk[:size]
            chunk = chunk[size:]
    if chunk:
        yield chunk


def _evaluated(
    question: Question, chunks: list[list[Point]], jobs: int, backend: Callable[[], AbstractContextManager[Any]]
) -> Iterator[list[Row]]:
    if not chunks:
        return
    if jobs == 1 and backend is nullcontext:
        for chunk in chunks:
            yield evaluate(question, chunk)
        return
    from joblib import Parallel, delayed

    with backend():
        yield from Parallel(n_jobs=jobs, return_as="generator_unordered")(
            delayed(evaluate)(question, chunk) for chunk in chunks
        )


def trust(
    question: Question,
    points: Sequence[Point],
    store: Store,
    seed: int,
    *,
    jobs: int = 1,
    backend: Callable[[], AbstractContextManager[Any]] = nullcontext,
    told: Told = lambda _: None,
) -> Row | None:
    """Run a sample of the points again on the reference and store ``equal`` in their rows; returns an unequal row.

    The sample is drawn by ``seed`` from the points that the fast machine answered. It has at least 20 points and goes
    on while it has taken less than a tenth of what the sweep took.
    """
    reference = replace(question, machine="reference")
    candidates = [p for p in points if "fast" in _machines(store.rows[p.digest(question.digest)]).values()]
    Random(seed).shuffle(candidates)
    spent, allowed = 0.0, TRUST_SHARE * sum(row["seconds"] for row in store.rows.values())
    for first in range(0, len(candidates), LEAST_TRUST):
        if first and spent >= allowed:
            return None
        sample = {p.digest(question.digest): p for p in candidates[first : first + LEAST_TRUST]}
        new = [[point] for digest, point in sample.items() if store.rows[digest].get("equal") is None]
        for (found,) in _evaluated(reference, new, jobs, backend):
            row, machines = store.rows[found["point"]], _machines(found)
            equal = all(row[key] == value for key, value in found.items() if key not in machines and key != "seconds")
            store.append([row | {"equal": equal}])
            spent += found["seconds"]
            told(1)
        unequal = next((row for row in map(store.rows.__getitem__, sample) if not row["equal"]), None)
        if unequal is not None:
            return unequal
    return None


def _machines(row: Row) -> dict[str, str]:
    return {key: value for key, value in row.items() if key.endswith(".machine")}
