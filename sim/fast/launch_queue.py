"""A stream's launch queue: when its launches start, as far as that can hold a host thread up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from sim.timeline.spans import Column

NEVER = -(1 << 60)


Starts = Callable[[], Column] | tuple[int, ...]
Block = tuple[int, int, Starts | None]
"""Number and start of the last launch of some that follow each other, and, if it is not one alone, all starts."""


class LaunchQueue:
    """Launch ``i`` returns no earlier than launch ``i - depth`` starts.

    Starts are kept in blocks, one a launch or a train, until nothing can ask for them: those before ``_clear`` have
    started, or lie further back than any launch to come reaches.
    """

    __slots__ = ("_blocks", "_clear", "count", "depth")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.count = 0
        self._clear = 0
        self._blocks: deque[Block] = deque()

    def add(self, start: int) -> None:
        """One launch and its start."""
        self.count += 1
        self._blocks.append((self.count, start, None))

    def add_train(self, launches: int, last: int, starts: Starts) -> None:
        """Launches one after the other: how many, the start of the last, and how to find those of all."""
        self.count += launches
        self._blocks.append((self.count, last, starts))

    def add_all(self, starts: tuple[int, ...]) -> None:
        """The starts of launches one after the other."""
        self.count += len(starts)
        self._blocks.append((self.count, starts[-1], starts))

    def add_last(self, launches: int, starts: tuple[int, ...]) -> None:
        """So many launches, all of which have started, and all before them, save the last ones, which start then."""
        self.count += launches
        self._clear = self.count - len(starts)
        self._blocks.clear()
        if starts:
            self._blocks.append((self.count, starts[-1], starts))

    def rounds(self, most: int, now: int, launches: int, started: int) -> int:
        """How many rounds of so many launches, at ``most``, nothing can hold up from ``now`` on, as far as is known.

        Every round sees to it that the launches of all rounds but the last few have ``started``.
        """
        if self.count + launches * (started + 1) - self.depth > self._clear:
            self._waits(self.count + 1 - self.depth, now)
            room = (self.depth + self._clear - self.count) // launches
            return most if room > started else min(most, room)
        return most

    def skip(self, launches: int) -> None:
        """Launches that nothing to come can be held up by."""
        self.count += launches
        self._clear = self.count
        self._blocks.clear()

    def opens(self, now: int) -> int:
        """When the newest launch may return, ``NEVER`` if ``now`` is late enough."""
        needed = self.count - self.depth
        if needed <= self._clear or not self._waits(needed, now):
            return NEVER
        last, start, starts = self._blocks[0]
        return start if starts is None else int(_all(starts)[needed - last - 1])

    def can_fill(self, now: int, launches: int) -> bool:
        """Whether so many more launches from ``now`` on could be held up."""
        if self.count + launches - self.depth <= self._clear:
            return False
        if launches > self.depth:
            return True
        self._waits(self.count + 1 - self.depth, now)
        return self.count + launches - self.depth > self._clear

    def started(self, launch: int, now: int) -> bool:
        """Whether this launch, counted from 1, and all before it are known to have started by ``now``."""
        if launch <= self._clear:
            return True
        return next(start for last, start, _ in self._blocks if last >= launch) <= now

    def opens_train(self, launches: int) -> Column:
        """When each of the next launches may return, at most ``depth`` of them."""
        first = self.count + 1 - self.depth
        self._waits(first, NEVER)
        found = np.full(launches, NEVER, dtype=np.int64)
        for last, start, of_all in self._blocks:
            starts = np.array([start]) if of_all is None else np.asarray(_all(of_all))
            begin = last - len(starts) + 1
            low, high = max(begin, first), min(last, first + launches - 1)
            if low <= high:
                found[low - first : high - first + 1] = starts[low - begin : high - begin + 1]
        return found

    def _waits(self, needed: int, now: int) -> bool:
        """Forget what has started by ``now`` or lies before ``needed``; whether ``needed`` is still to start."""
        blocks = self._blocks
        while blocks and (blocks[0][0] < needed or blocks[0][1] <= now):
            self._clear = blocks.popleft()[0]
        return bool(blocks) and needed > self._clear


class Endless(LaunchQueue):
    """A launch queue that holds nothing up, of launches whose times are not numbers; whoever uses it sees to room."""

    __slots__ = ()

    def opens(self, now: Any) -> int:
        """No launch is held up."""
        del now
        return NEVER

    def can_fill(self, now: Any, launches: int) -> bool:
        """It cannot."""
        del now, launches
        return False


def _all(starts: Starts) -> Column | tuple[int, ...]:
    return starts if isinstance(starts, tuple) else starts()
