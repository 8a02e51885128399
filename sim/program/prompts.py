"""Measured durations of causal attention by how many prompts run side by side and how long each is."""

from __future__ import annotations

from bisect import bisect_left
from math import sqrt

from sim.program.grid import Points

Chunk = tuple[int, int]
"""Tokens that are in the cache before the step, and tokens that the step computes: of a whole prompt (0, length)."""


class PromptCurves:
    """Durations by the number of prompts and their length, from one curve over lengths a number of prompts.

    Time is a floor, a share of each token and one of each pair of tokens. Straight lines between two measured lengths,
    of the time and of the time per token, both lie above such a curve; the lower one is taken. Before a curve's first
    point time is constant, beyond its last it grows with the square.
    Between two numbers of prompts time is straight, and straight on beyond the largest. A single prompt leaves much of
    a device idle, so that a few take little more than one; where only single ones were measured, each further one adds
    its arithmetic at the best rate that any reached.
    """

    def __init__(self, curves: dict[int, Points]) -> None:
        self._curves = curves
        self._counts = sorted(curves)
        self._best = min(ns / length**2 for length, ns in curves[self._counts[0]])

    def at(self, count: int, length: float) -> float:
        """Nanoseconds of so many prompts of this length each."""
        counts = self._counts
        if count in self._curves:
            return _on(self._curves[count], length)
        if len(counts) == 1:
            return _on(self._curves[counts[0]], length) + (count - counts[0]) * self._best * length**2
        right = min(max(1, bisect_left(counts, count)), len(counts) - 1)
        few, many = counts[right - 1], counts[right]
        below, beyond = (_on(self._curves[n], length) for n in (few, many))
        return below + (beyond - below) * (count - few) / (many - few)

    def of(self, chunks: tuple[Chunk, ...]) -> float:
        """Nanoseconds of chunks of any lengths, as if each were a prompt of their mean arithmetic.

        They never take less than the one with most to do takes alone. How much cached context a chunk has counts by
        its arithmetic, which leaves out that few tokens over a long context run less side by side than many.
        """
        squares = [tokens * (tokens + 2 * start) for start, tokens in chunks]
        together = self.at(len(chunks), sqrt(sum(squares) / len(chunks)))
        return max(together, self.at(1, sqrt(max(squares))))


def _on(points: Points, length: float) -> float:
    first, last = points[0], points[-1]
    if length <= first[0]:
        return first[1]
    if length >= last[0]:
        return last[1] * (length / last[0]) ** 2
    right = bisect_left(points, (length, 0))
    (x0, y0), (x1, y1) = points[right - 1], points[right]
    share = (length - x0) / (x1 - x0)
    return min(y0 + (y1 - y0) * share, length * (y0 / x0 + (y1 / x1 - y0 / x0) * share))
