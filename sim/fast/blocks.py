"""Trains as composed forms: what repeats in a train is composed once, with nothing but sums and maxima."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.program.calls import Call
from sim.program.constants import Constants

Later = Callable[[Any, Any], Any]
AFTER = 4
"""How often, at most, a number stands in what repeats that is looked for by it."""


@dataclass(frozen=True, slots=True)
class Times:
    """A tree that comes so often in a row."""

    count: int
    tree: Tree


Tree = tuple["int | Times | Tree", ...]
"""Numbers one after the other, some of them in parts of their own."""


def folded(numbers: Sequence[int]) -> Tree:
    """A tree of the same numbers in the same order, in which what repeats stands once.

    It takes the repetition that saves most, and then does the same before, in and after it.
    """
    found = _most_saved(np.asarray(numbers))
    if found is None:
        return tuple(int(n) for n in numbers)
    start, period, count = found
    end = start + period * count
    block = Times(count, folded(numbers[start : start + period]))
    return (*folded(numbers[:start]), block, *folded(numbers[end:]))


def _most_saved(numbers: Any) -> tuple[int, int, int] | None:
    """Start, period and count of the repetition that saves most numbers, the shortest period of equals."""
    best, saved = None, 1
    for period in _periods(numbers):
        same = np.concatenate([[False], numbers[period:] == numbers[:-period], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            count = (end - start) // period + 1
            if (count - 1) * period > saved:
                best, saved = (start, period, count), (count - 1) * period
    return best


def _periods(numbers: Any) -> list[int]:
    """Periods that are worth a look: how far apart some number stands from its next, or from one soon after."""
    places = np.argsort(numbers, kind="stable")
    found: set[int] = set()
    for after in range(1, AFTER + 1):
        apart = (places[after:] - places[:-after])[numbers[places[after:]] == numbers[places[:-after]]]
        found |= set(apart.tolist())
    return sorted(period for period in found if period <= len(numbers) // 2)


@dataclass(frozen=True, slots=True)
class Link:
    """Launches one after the other: from the host thread's time and that at which the stream may start a kernel.

    ``host`` is added to the one and ``stream`` to the other, which is no earlier than ``both`` after the first.
    """

    host: Any
    stream: Any
    both: Any

    def then(self, after: Link, later: Later) -> Link:
        """Both, one after the other."""
        return Link(
            self.host + after.host,
            self.stream + after.stream,
            later(self.both + after.stream, self.host + after.both),
        )


class Blocks:
    """A train's kernels as a tree of links, of which those are kept whose durations stay the same objects.

    The tree's numbers are positions of durations, and each is launched by one of the ``calls``; those that ``change``
    from step to step stand by themselves.
    """

    def __init__(
        self, tree: Tree, calls: Mapping[int, Call], constants: Constants, later: Later, change: frozenset[int]
    ) -> None:
        self._tree = _parted(tree, change)
        self._calls = calls
        self._constants = constants
        self._later = later
        self._known: dict[int, tuple[list[Any], Link]] = {}
        self._inside: dict[int, list[int]] = {}

    def link(self, ns: Sequence[Any]) -> Link:
        """All launches, where their kernels take so long."""
        return self._of(self._tree, ns)

    def _of(self, part: int | Times | Tree, ns: Sequence[Any]) -> Link:
        inside = self._inside.get(id(part))
        if inside is None:
            inside = self._inside[id(part)] = sorted(set(_numbers(part)))
        known = self._known.get(id(part))
        if known is not None and all(ns[i] is n for i, n in zip(inside, known[0], strict=True)):
            return known[1]
        found = self._made(part, ns)
        self._known[id(part)] = [ns[i] for i in inside], found
        return found

    def _made(self, part: int | Times | Tree, ns: Sequence[Any]) -> Link:
        if isinstance(part, int):
            call, gapped = self._calls[part].ns, ns[part] + self._constants.stream_gap
            return Link(call, gapped, call + (self._constants.launch_latency + gapped))
        if isinstance(part, Times):
            return self._power(self._of(part.tree, ns), part.count)
        first, *rest = part
        found = self._of(first, ns)
        for each in rest:
            found = found.then(self._of(each, ns), self._later)
        return found

    def _power(self, link: Link, count: int) -> Link:
        """A link so often in a row, by squares."""
        found, square = None, link
        while True:
            if count % 2:
                found = square if found is None else found.then(square, self._later)
            count //= 2
            if not count:
                assert found is not None
                return found
            square = square.then(square, self._later)


def _numbers(part: int | Times | Tree) -> Iterator[int]:
    if isinstance(part, int):
        yield part
    else:
        for each in part.tree if isinstance(part, Times) else part:
            yield from _numbers(each)


def _parted(tree: Tree, change: frozenset[int]) -> Tree:
    """The same tree, in which what does not change is a part of its own wherever it stands beside what does."""
    parts: list[int | Times | Tree] = []
    still: list[int | Times | Tree] = []
    for each in tree:
        if change.isdisjoint(_numbers(each)):
            still.append(each)
            continue
        if still:
            parts.append(tuple(still))
            still = []
        parts.append(Times(each.count, _parted(each.tree, change)) if isinstance(each, Times) else each)
    return (*parts, tuple(still)) if still and parts else tuple(parts or still)
