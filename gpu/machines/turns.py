"""Whose turn it is on what an emulated device has one of."""

from __future__ import annotations

from collections import deque
from threading import Condition, Lock


class Turn:
    """A copy engine, or an executable graph: one user at a time. ``free_at`` (ns): when the last was due to be done."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.free_at = 0


class Multiprocessors:
    """Shares of one device, handed out first come, first served; whoever needs more than is free waits.

    Times are nanoseconds of one clock. They say when a share was due to be free, not when the thread noticed.
    """

    def __init__(self) -> None:
        self._free = 1.0
        self._freed = 0
        self._queue: deque[object] = deque()
        self._changed = Condition()

    def take(self, share: float) -> int:
        """Block until ``share`` (at most 1) is there; when the last of what it had to wait for was due, 0 for none."""
        me = object()
        with self._changed:
            waited = False
            self._queue.append(me)
            while self._queue[0] is not me or self._free + 1e-9 < share:
                waited = True
                self._changed.wait()
            self._queue.popleft()
            self._free -= share
            if self._queue:
                self._changed.notify_all()
            return self._freed if waited else 0

    def give(self, share: float, due: int) -> None:
        """Return a share at the time its work was due to end."""
        with self._changed:
            self._free += share
            self._freed = due
            if self._queue:
                self._changed.notify_all()
