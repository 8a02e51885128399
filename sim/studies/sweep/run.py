"""A sweep: points to workers, rows to the store, a sample to the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from sim.studies.sweep.axes import Point
from sim.studies.sweep.evaluate import Question, Row, alike_of, evaluate, why_alone
from sim.studies.sweep.store import Store
from sim.studies.sweep.workers import ThisProcess, Workers

SMALLEST = 16
"""Points that a worker takes at least: more than a message costs, few enough to lose when it dies."""
CHUNKS = 8
"""Chunks for each worker, if points are many enough: the last ones even out what the others took."""
LEAST_TRUST, TRUST_SHARE = 20, 0.1
BY_THE_WAY = {"seconds", "alone"}
"""What rows say of how they came about."""
Told = Callable[[int], None]
HERE = ThisProcess()


def run_points(
    question: Question,
    points: Sequence[Point],
    store: Store,
    *,
    workers: Workers = HERE,
    told: Told = lambda _: None,
) -> None:
    """Evaluate the points that the store lacks and append their rows as they come; ``told`` hears how many came.

    Whatever comes twice, as a cluster may evaluate the points of a worker that dies again, is stored once.
    """
    missing = [point for point in points if point.digest(question.digest) not in store.rows]
    fair = question.arrays.most if workers.count == 1 else max(SMALLEST, len(missing) // (CHUNKS * workers.count))
    chunks = list(_chunked(question, missing, min(question.arrays.most, fair)))
    for rows in workers.results(partial(evaluate, question), chunks):
        store.append(rows)
        told(len(rows))


def _chunked(question: Question, points: Sequence[Point], size: int) -> Iterator[list[Point]]:
    """Chunks of about so many points that can be simulated side by side, and small ones of the others."""
    chunk: list[Point] = []
    others: list[Point] = []
    for alike in alike_of(points):
        if why_alone(question, alike):
            others += alike
            continue
        if len(chunk) + len(alike) > size and chunk:
            yield chunk
            chunk = []
        chunk += alike
        while len(chunk) > size:
            yield chunk[:size]
            chunk = chunk[size:]
    if chunk:
        yield chunk
    for low in range(0, len(others), SMALLEST):
        yield others[low : low + SMALLEST]


def trust(
    question: Question,
    points: Sequence[Point],
    store: Store,
    seed: int,
    *,
    workers: Workers = HERE,
    told: Told = lambda _: None,
) -> Row | None:
    """Run a sample of the points again on the reference and store ``equal`` in their rows; returns an unequal row.

    The sample is drawn by ``seed`` from the points that the fast machine answered. It has at least 20 points, however
    little the sweep took, and goes on while all checks so far have taken less than a tenth of what the sweep took.
    """
    reference = replace(question, machine="reference")
    candidates = [p for p in points if "fast" in _machines(store.rows[p.digest(question.digest)]).values()]
    Random(seed).shuffle(candidates)
    spent = sum(row.get("reference_seconds") or 0.0 for row in store.rows.values())
    allowed = TRUST_SHARE * sum(row["seconds"] for row in store.rows.values())
    for first in range(0, len(candidates), LEAST_TRUST):
        if first and spent >= allowed:
            return None
        sample = {p.digest(question.digest): p for p in candidates[first : first + LEAST_TRUST]}
        new = [[point] for digest, point in sample.items() if store.rows[digest].get("equal") is None]
        for (found,) in workers.results(partial(evaluate, reference), new):
            row, machines = store.rows[found["point"]], _machines(found)
            equal = all(row[key] == value for key, value in found.items() if key not in {*machines, *BY_THE_WAY})
            store.append([row | {"equal": equal, "reference_seconds": found["seconds"]}])
            spent += found["seconds"]
            told(1)
        unequal = next((row for row in map(store.rows.__getitem__, sample) if not row["equal"]), None)
        if unequal is not None:
            return unequal
    return None


def _machines(row: Row) -> dict[str, str]:
    return {key: value for key, value in row.items() if key.endswith(".machine")}
