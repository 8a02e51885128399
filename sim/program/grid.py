"""Measured durations by one size or by two, and what lies between them."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
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


@lru_cache(maxsize=1024)
def _columns(points: Points) -> tuple[Values, Values, Values, Values]:
    """Sizes and values, and of each piece between two of them its rise and its run; a lone point is a flat piece."""
    sizes, values = (np.array(column, dtype=np.int64) for column in zip(*points, strict=True))
    if len(points) == 1:
        return sizes, values, np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64)
    return sizes, values, np.diff(values), np.diff(sizes)


def interpolate_many(points: Points, at: Values) -> Values:
    """``interpolate`` at many sizes, to the last bit."""
    sizes, values, rises, runs = _columns(points)
    left = np.searchsorted(sizes, at)
    left -= 1
    np.maximum(left, 0, out=left)
    np.minimum(left, len(runs) - 1, out=left)
    between = values[left] + rises[left] * (at - sizes[left]) / runs[left]
    beyond = values[-1] * at / sizes[-1]
    found: Values = np.where(at <= sizes[0], values[0], np.where(at >= sizes[-1], beyond, between))
    return found


@dataclass(frozen=True, slots=True)
class Line:
    """Durations of one batch over contexts: of ``batch``, the closest to the one asked for that can be told.

    ``low`` and ``high`` are measured, ``share`` of the way from one to the other, as a fraction, the batch lies.
    """

    batch: int
    low: Points
    high: Points
    share: tuple[int, int]

    def at(self, context: float) -> float:
        """Nanoseconds at a context inside the grid."""
        below = interpolate(self.low, context)
        part, whole = self.share
        return below + (interpolate(self.high, context) - below) * part / whole if part else below

    def ends(self, first: int, last: int) -> list[tuple[int, float]]:
        """Contexts from one to another between which both curves are straight, and what they take."""
        inside = {x for points in (self.low, self.high) for x, _ in points if first < x < last}
        return [(x, self.at(x)) for x in sorted({first, last} | inside)]

    def many(self, contexts: Values) -> Values:
        """``at`` many contexts, to the last bit."""
        below = interpolate_many(self.low, contexts)
        part, whole = self.share
        return below + (interpolate_many(self.high, contexts) - below) * part / whole if part else below


class Grid:
    """Durations of attention by its batch and the mean context of a row, from one curve over contexts a batch.

    Straight between contexts, then straight between two batches. ``regime`` names what batches have in common whose
    times lie on one line; a batch is read off that line alone, a little beyond its ends, too, and only where none of
    its regime was measured off all batches. How contexts scatter around their mean is left out: a kernel that splits
    them finely is bound by their sum.
    """

    def __init__(self, curves: dict[int, Points], regime: Callable[[int], Hashable] = lambda _: None) -> None:
        self._curves = curves
        self.first = max(points[0][0] for points in curves.values())
        self.last = min(points[-1][0] for points in curves.values())
        self._all = sorted(curves)
        self._regime = regime
        self._members: dict[Hashable, list[int]] = defaultdict(list)
        for batch in self._all:
            self._members[regime(batch)].append(batch)

    def nearest(self, batch: int, context: float) -> tuple[int, float]:
        """The batch and context closest to these that ``at`` can tell."""
        return self.line(batch).batch, min(max(context, self.first), self.last)

    def at(self, batch: int, context: float) -> float:
        """Nanoseconds inside the grid, as ``nearest`` returns it."""
        return self.line(batch).at(context)

    def line(self, batch: int) -> Line:
        """The line over contexts of the batch closest to this one that can be told."""
        batches = self._line(batch)
        if len(batches) == 1 or not self._all[0] <= batch <= self._all[-1]:
            batch = min(max(batch, batches[0]), batches[-1])
        if batch in self._curves:
            return Line(batch, self._curves[batch], self._curves[batch], (0, 1))
        right = min(max(bisect_left(batches, batch), 1), len(batches) - 1)
        few, many = batches[right - 1], batches[right]
        return Line(batch, self._curves[few], self._curves[many], (batch - few, many - few))

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
