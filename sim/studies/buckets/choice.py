"""The best list of batch sizes to capture, by dynamic programming."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Costs = npt.NDArray[np.int64]
NEVER = 1 << 60
"""More than any sum of step times, in nanoseconds; two of it still fit into 64 bits."""


class Prices(Protocol):
    """What one decode step of ``rows`` takes, in nanoseconds."""

    def replayed(self, rows: int, bucket: int) -> int:
        """As a graph of ``bucket`` rows."""

    def eager(self, rows: int) -> int:
        """Without a graph."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A list of buckets, and the time that all counted steps take with it, in nanoseconds."""

    buckets: tuple[int, ...]
    total_ns: int


def choose(
    steps: Mapping[int, int],
    prices: Prices,
    *,
    graphs: int | None = None,
    fits: Callable[[int, int], bool] = lambda _graphs, _largest: True,
) -> Choice | None:
    """The list with the least total time over ``steps``, which counts decode steps by their rows.

    At most ``graphs`` of them, and only lists that ``fits`` says have room: it is asked with a number of graphs and the
    largest of them, which is all that a list's memory depends on. None when not even one graph fits. Of equal lists the
    one with fewer graphs. Rows above the largest bucket run eager.

    Exact. ``best[b]`` is the least time of all steps up to ``b`` rows when ``b`` is a bucket and so many are used; a
    next bucket takes over the steps in between. Any size up to the largest batch may be one: padding to a rounder size
    can be faster, where kernels are. Time goes with the square of the largest batch for each graph.
    """
    most = max(steps)
    between = _between(steps, prices, most)
    above = _eager_above(steps, prices, most)
    best = np.full(most + 1, NEVER, dtype=np.int64)
    best[0] = 0
    paths: list[npt.NDArray[np.intp]] = []
    found: tuple[int, int, int] | None = None
    for count in range(1, min(most, most if graphs is None else graphs) + 1):
        through = best[:, np.newaxis] + between
        paths.append(through.argmin(axis=0))
        best = np.minimum(through.min(axis=0), NEVER)
        allowed = [b for b in range(count, most + 1) if fits(count, b)]
        if not allowed:
            break
        totals = {b: int(best[b] + above[b]) for b in allowed}
        largest = min(totals, key=lambda b: (totals[b], b))
        if found is None or totals[largest] < found[0]:
            found = totals[largest], count, largest
    if found is None:
        return None
    total, count, bucket = found
    buckets = []
    for path in reversed(paths[:count]):
        buckets.append(bucket)
        bucket = int(path[bucket])
    return Choice(tuple(reversed(buckets)), total)


def total_ns(steps: Mapping[int, int], prices: Prices, buckets: tuple[int, ...]) -> int:
    """The time of all counted steps with a list."""
    total = 0
    for rows, count in steps.items():
        bucket = next((b for b in buckets if b >= rows), None)
        total += count * (prices.eager(rows) if bucket is None else prices.replayed(rows, bucket))
    return total


def _between(steps: Mapping[int, int], prices: Prices, most: int) -> Costs:
    """``[a, b]``: the time of all steps above ``a`` and up to ``b`` rows in a bucket of ``b``."""
    costs = np.full((most + 1, most + 1), NEVER, dtype=np.int64)
    for bucket in range(1, most + 1):
        total = 0
        for below in range(bucket - 1, -1, -1):
            if count := steps.get(below + 1, 0):
                total += count * prices.replayed(below + 1, bucket)
            costs[below, bucket] = total
    return costs


def _eager_above(steps: Mapping[int, int], prices: Prices, most: int) -> list[int]:
    """``[b]``: the time of all steps of more than ``b`` rows, run eager."""
    totals = [0] * (most + 1)
    for rows in range(most, 0, -1):
        count = steps.get(rows, 0)
        totals[rows - 1] = totals[rows] + (count * prices.eager(rows) if count else 0)
    return totals
