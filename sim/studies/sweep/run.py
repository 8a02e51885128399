"""A sweep: points to workers, rows to the store, a sample to the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from random import Random
from time import perf_counter
from typing import Any

from sim.studies.sweep.axes import Point
from sim.studies.sweep.evaluate import Question, Row, answer, evaluate
from sim.studies.sweep.store import Store

CHUNK = 16
"""Points that a worker takes at once: more than a message costs, few enough to lose when a worker dies."""
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
    chunks = [missing[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
    for rows in _evaluated(question, chunks, jobs, backend):
        store.append(rows)
        told(len(rows))


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
    question: Question, points: Sequence[Point], store: Store, seed: int, told: Told = lambda _: None
) -> Row | None:
    """Run a sample of the points again on the reference and store ``equal`` in their rows; returns an unequal row.

    The sample is drawn by ``seed`` from the points that the fast machine answered. It has at least 20 points and goes
    on while it has taken less than a tenth of what the sweep took.
    """
    reference = replace(question, machine="reference")
    candidates = [p for p in points if "fast" in _machines(store.rows[p.digest(question.digest)]).values()]
    Random(seed).shuffle(candidates)
    spent, allowed = 0.0, TRUST_SHARE * sum(row["seconds"] for row in store.rows.values())
    for number, point in enumerate(candidates):
        if number >= LEAST_TRUST and spent >= allowed:
            return None
        began = perf_counter()
        row = store.rows[point.digest(question.digest)]
        if row.get("equal") is None:
            found = answer(reference, point)
            machines = _machines(found)
            equal = all(row[key] == value for key, value in found.items() if key not in machines)
            store.append([row | {"equal": equal}])
            row = store.rows[row["point"]]
        spent += perf_counter() - began
        told(number + 1)
        if not row["equal"]:
            return row
    return None


def _machines(row: Row) -> dict[str, str]:
    return {key: value for key, value in row.items() if key.endswith(".machine")}
