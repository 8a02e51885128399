"""Measured durations by one size or by two, and what lies between them."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable

Points = tuple[tuple[int, int], ...]
"""Pairs of a size and nanoseconds, in ascending order of size."""


def interpolate(points: Points, at: float) -> float:
    """A value on the straight line between two points; before the first constant, beyond the last proportional.

    A floor and a rate make straight lines of the size itself; of its logarithm they make curves below their chords.
    """
    if at <= points[0][0]:
        return points[0][1]
    if at >= points[-1][0]:
        return points[-1][1] * at / points[-1][0]
    right = bisect_left(points, (at, 0))
    (x0, y0), (x1, y1) = points[right - 1], points[right]
    return y0 + (y1 - y0) * (at - x0) / (x1 - x0)


class Grid:
    """Durations of attention by its batch and the mean context of a row, from one curve over contexts a batch.

    Straight between contexts, then straight between the two batches beside. How contexts scatter around their mean
    is left out: a kernel that splits them finely is bound by their sum.
    """

    def __init__(self, curves: dict[int, Points]) -> None:
        self._batches = sorted(curves)
        self._curves = [curves[batch] for batch in self._batches]
        self._first = max(points[0][0] for points in self._curves)
        self._last = min(points[-1][0] for points in self._curves)

    def nearest(self, batch: int, context: float) -> tuple[int, float]:
        """The batch and context closest to these for which there are measurements all around."""
        return (
            min(max(batch, self._batches[0]), self._batches[-1]),
            min(max(context, self._first), self._last),
        )

    def at(self, batch: int, context: float) -> float:
        """Nanoseconds inside the grid, as ``nearest`` returns it."""
        right = bisect_left(self._batches, batch)
        beyond = interpolate(self._curves[right], context)
        if self._batches[right] == batch:
            return beyond
        below = interpolate(self._curves[right - 1], context)
        share = (batch - self._batches[right - 1]) / (self._batches[right] - self._batches[right - 1])
        return below + (beyond - below) * share


def grids(tables: Iterable[tuple[tuple[int, ...], Points]]) -> dict[tuple[int, ...], Grid]:
    """One grid for all tables whose shapes differ in the last number alone, their batch."""
    curves: dict[tuple[int, ...], dict[int, Points]] = defaultdict(dict)
    for (*shape, batch), points in tables:
        curves[tuple(shape)][batch] = points
    return {shape: Grid(of_shape) for shape, of_shape in curves.items()}
