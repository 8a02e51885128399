"""Measured durations of causal attention by how many prompts run side by side and how long each is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from sim.program.grid import Points

Chunk = tuple[int, int]
"""Tokens that are in the cache before the step, and tokens that the step computes: of a whole prompt (0, length)."""
BLOCK = 128
"""Queries of a head that flash attention computes in one block of threads, which goes through all their keys."""
PER = 1000
"""Cached tokens whose cost a profile names."""


def blocks_of(heads: int, tokens: int) -> int:
    """Blocks of threads for so many new tokens of one prompt."""
    return heads * -(-tokens // BLOCK)


@dataclass(frozen=True, slots=True)
class Cached:
    """What tokens that are in the cache before a step add to its attention.

    A block goes through the keys before its own one after the other. Where no multiprocessor has more than one block
    a key takes ``alone`` nanoseconds, where some have two it takes ``paired``; more wait for these to end, so that a
    prompt's blocks go through its context in waves. Steps of several prompts take the longest of them, or what their
    blocks take together on a device full of pairs. Left out: that a block whose neighbour has ended is alone again.
    """

    heads: int
    multiprocessors: int
    alone: float
    paired: float

    def of(self, chunks: Sequence[Chunk]) -> float:
        """Nanoseconds of the cached tokens of all these pieces of prompts."""
        blocks = [blocks_of(self.heads, tokens) for _, tokens in chunks]
        pairs = 2 * self.multiprocessors
        a_key = self.alone if sum(blocks) <= self.multiprocessors else self.paired
        work = list(zip((start for start, _ in chunks), blocks, strict=True))
        longest = max(start * a_key * -(-count // pairs) for start, count in work)
        return max(longest, self.paired * sum(start * count for start, count in work) / pairs)


class PromptCurves:
    """Durations by the number of prompts and their length, from one curve over lengths a number of prompts.

    Time is a floor, a share of each token and one of each pair of tokens. Straight lines between two measured lengths,
    of the time and of the time per token, both lie above such a curve; the lower one is taken. Before a curve's first
    point time is constant, beyond its last it grows with the square.
    Between two numbers of prompts time is straight, and straight on beyond the largest. A single prompt leaves much of
    a device idle, so that a few take little more than one; where only single ones were measured, each further one adds
    its arithmetic at the best rate that any reached.
    """

    def __init__(self, curves: dict[int, Points], cached: Cached | None = None) -> None:
        self._curves = curves
        self._cached = cached
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

    def of(self, chunks: Sequence[Chunk]) -> float:
        """Nanoseconds of chunks of any lengths: of whole prompts as long as these, and what their context adds.

        Together they take as long as so many of their mean arithmetic, and never less than the one with most to do
        takes alone. Where it was not measured what context adds, it counts by its arithmetic, too: a piece is as long
        as the prompt that has as much to do, which is too long by a half where the piece has few blocks of threads.
        """
        if self._cached is not None and any(start for start, _ in chunks):
            return self.of([(0, tokens) for _, tokens in chunks]) + self._cached.of(chunks)
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
