"""Measured durations by one size or by two, and what lies between them."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from functools import partial

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

    Straight between contexts, then straight between two batches. ``regime`` names what batches have in common whose
    times lie on one line; a batch is read off that line alone, a little beyond its ends, too, and only where none of
    its regime was measured off all batches. How contexts scatter around their mean is left out: a kernel that splits
    them finely is bound by their sum.
    """

    def __init__(self, curves: dict[int, Points], regime: Callable[[int], Hashable] = lambda _: None) -> None:
        self._curves = curves
        self._first = max(points[0][0] for points in curves.values())
        self._last = min(points[-1][0] for points in curves.values())
        self._all = sorted(curves)
        self._regime = regime
        self._members: dict[Hashable, list[int]] = defaultdict(list)
        for batch in self._all:
            self._members[regime(batch)].append(batch)

    def nearest(self, batch: int, context: float) -> tuple[int, float]:
        """The batch and context closest to these that ``at`` can tell."""
        batches = self._line(batch)
        if len(batches) == 1 or not self._all[0] <= batch <= self._all[-1]:
            batch = min(max(batch, batches[0]), batches[-1])
        return batch, min(max(context, self._first), self._last)

    def at(self, batch: int, context: float) -> float:
        """Nanoseconds inside the grid, as ``nearest`` returns it."""
        if batch in self._curves:
            return interpolate(self._curves[batch], context)
        batches = self._line(batch)
        right = min(max(bisect_left(batches, batch), 1), len(batches) - 1)
        few, many = batches[right - 1], batches[right]
        below, beyond = (interpolate(self._curves[n], context) for n in (few, many))
        return below + (beyond - below) * (batch - few) / (many - few)

    def _line(self, batch: int) -> list[int]:
        """The measured batches whose times this one's lies in line with."""
        return self._members.get(self._regime(batch)) or self._all


def grids(
    tables: Iterable[tuple[tuple[int, ...], Points]],
    regime: Callable[[int, tuple[int, ...]], Hashable] = lambda _batch, _shape: None,
) -> dict[tuple[int, ...], Grid]:
    """One grid for all tables whose shapes differ in the last number alone, their batch.

    ``regime`` of a batch and of the other numbers: see ``Grid``.
    """
    return {shape: Grid(curves, partial(_of, regime, shape)) for shape, curves in by_last(tables)}


def by_last(tables: Iterable[tuple[tuple[int, ...], Points]]) -> Iterable[tuple[tuple[int, ...], dict[int, Points]]]:
    """Tables whose shapes differ in the last number alone, together: the shape without it, and curves by it."""
    curves: dict[tuple[int, ...], dict[int, Points]] = defaultdict(dict)
    for (*shape, last), points in tables:
        curves[tuple(shape)][last] = points
    return curves.items()


def _of(regime: Callable[[int, tuple[int, ...]], Hashable], shape: tuple[int, ...], batch: int) -> Hashable:
    return regime(batch, shape)
