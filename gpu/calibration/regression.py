"""The numeric fits of a calibration: a robust line, a roofline, an interval shared by two totals. No units of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """``intercept + slope * x``."""

    intercept: float
    slope: float

    def at(self, x: float) -> float:
        """The line's value at ``x``."""
        return self.intercept + self.slope * x


def theil_sen(points: Sequence[tuple[float, float]]) -> Line:
    """Robust line: the median slope of all pairs of points, then the median of what is left at ``x = 0``.

    Less than 29 % of the points can be arbitrarily wrong without carrying it away. Raises `ValueError` when no two
    points differ in ``x``.
    """
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x1 != x2]
    if not slopes:
        raise ValueError("a line needs two points that differ in x")
    slope = float(np.median(slopes))
    return Line(float(np.median([y - slope * x for x, y in points])), slope)


def shared_interval(first: tuple[int, float], second: tuple[int, float], ends: float) -> tuple[float, float]:
    """Find ``x`` for which ``count * x + ends`` misses two totals by the same relative error, in opposite directions.

    This is the minimax fit. Returns ``x`` and that error, at least 0.
    """
    (count1, total1), (count2, total2) = first, second
    x = (2 - ends / total1 - ends / total2) / (count1 / total1 + count2 / total2)
    return x, abs((count1 * x + ends) / total1 - 1)


@dataclass(frozen=True, slots=True)
class Roofline:
    """``floor + max(flops * per_flop, traffic * per_byte)``."""

    floor: float
    per_flop: float
    per_byte: float

    def at(self, flops: Floats, traffic: Floats) -> Floats:
        """Durations of kernels that compute and move this much."""
        return self.floor + np.maximum(flops * self.per_flop, traffic * self.per_byte)

    def errors(self, flops: Floats, traffic: Floats, measured: Floats) -> Floats:
        """Relative errors against measured durations."""
        return self.at(flops, traffic) / measured - 1


def fit_roofline(flops: Floats, traffic: Floats, measured: Floats) -> Roofline:
    """Least squares of the relative error, no coefficient below zero.

    Which rows are bound by arithmetic is decided by one number, the intensity at the ridge. Every value of it that
    tells the rows apart is tried; between two such values the problem is linear.
    """
    intensity = flops / traffic
    columns = [np.ones_like(measured), flops, traffic]
    best, least = Roofline(0.0, 0.0, 0.0), float("inf")
    for ridge in [-1.0, *np.unique(intensity)]:
        bound = intensity > ridge
        rows = np.stack([columns[0], columns[1] * bound, columns[2] * ~bound], axis=1) / measured[:, None]
        candidate = Roofline(*_non_negative(rows))
        loss = float(np.sum(candidate.errors(flops, traffic, measured) ** 2))
        if loss < least:
            best, least = candidate, loss
    return best


def non_negative(columns: Floats, measured: Floats) -> Floats:
    """Coefficients of the columns, none negative, by least squares of the relative error."""
    return _non_negative(columns / measured[:, None])


def _non_negative(rows: Floats) -> Floats:
    """Coefficients, none negative, that bring ``rows @ coefficients`` closest to 1, by trying every set of them."""
    scale = np.abs(rows).max(axis=0)
    used = np.flatnonzero(scale)
    best, least = np.zeros(rows.shape[1]), float(len(rows))
    for size in range(1, len(used) + 1):
        for subset in combinations(used, size):
            chosen = list(subset)
            part = rows[:, chosen] / scale[chosen]
            solution = np.linalg.lstsq(part, np.ones(len(rows)), rcond=None)[0]
            loss = float(np.sum((part @ solution - 1) ** 2))
            if solution.min() >= 0 and loss < least:
                best, least = np.zeros(rows.shape[1]), loss
                best[chosen] = solution / scale[chosen]
    return best
