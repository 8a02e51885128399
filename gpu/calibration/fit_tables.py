"""Measured curves: the duration of a kernel by its rows, shape by shape.

Here is how a profile's file spells them, and how far what lies between their points can be trusted. Times come in as
microseconds and are nanoseconds from there on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import mean
from typing import Any

from scenarios.units import format_duration
from sim.program.grid import Points, grids, interpolate
from sim.program.prompts import PromptCurves

Curves = dict[tuple[int, ...], Points]


def curves(measured: Iterable[tuple[tuple[int, ...], int, float]]) -> Curves:
    """Curves in the order of first appearance, from triples of shape, rows and microseconds; repeats are averaged."""
    by_shape: dict[tuple[int, ...], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for shape, rows, us in measured:
        by_shape[shape][rows].append(us)
    return {
        shape: tuple((rows, round(1000 * mean(us))) for rows, us in sorted(points.items()))
        for shape, points in by_shape.items()
    }


def tables(measured: Curves) -> list[dict[str, Any]]:
    """Curves as a profile's file spells them."""
    return [
        {"shape": list(shape), "points": [[rows, format_duration(ns)] for rows, ns in points]}
        for shape, points in measured.items()
    ]


def left_out(measured: Curves) -> list[float]:
    """Relative errors of all inner points, each as interpolated without it."""
    return [
        interpolate((points[i - 1], points[i + 1]), points[i][0]) / points[i][1] - 1
        for points in measured.values()
        for i in range(1, len(points) - 1)
    ]


def left_out_of_grid(measured: Curves) -> list[float]:
    """Relative errors of all inner points of grids, each interpolated without its batch and without its context."""
    errors = []
    for (*heads, batch), points in measured.items():
        others = {shape: p for shape, p in measured.items() if list(shape[:-1]) == heads and shape[-1] != batch}
        batches = [shape[-1] for shape in others]
        if not batches or not min(batches) < batch < max(batches):
            continue
        for context, ns in points[1:-1]:
            kept = ((shape, tuple(p for p in curve if p[0] != context)) for shape, curve in others.items())
            errors.append(grids(kept)[tuple(heads)].at(batch, context) / ns - 1)
    return errors


def left_out_of_prompts(measured: Curves) -> list[float]:
    """Relative errors of all inner points over a prompt's length, each as interpolated without it."""
    errors = []
    for (*_, count), points in measured.items():
        for length, ns in points[1:-1]:
            others = tuple(point for point in points if point[0] != length)
            errors.append(PromptCurves({count: others}).at(count, length) / ns - 1)
    return errors
