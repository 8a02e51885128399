"""Virtual time: SimPy's event queue with plain callbacks beside its processes."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush
from typing import Any

from simpy import Environment, Event
from simpy.events import URGENT

Callback = Callable[[Any], None]
NEVER = -(1 << 60)
FOREVER = 1 << 60


class Clock(Environment):
    """A SimPy environment in integer nanoseconds.

    Callbacks run before processes that are due at the same instant, and in the order in which they were booked: the
    device acts before the host.
    """

    now: int

    def call_at(self, time: int, callback: Callback, value: object = None) -> None:
        """Call ``callback`` with an event whose ``value`` is this one at ``time``, which must not lie in the past."""
        # What Event.succeed and Environment.schedule do, for another time than now: this is the hot path of a run.
        event = Event(self)
        event._ok = True  # noqa: SLF001
        event._value = value  # noqa: SLF001
        event.callbacks.append(callback)
        heappush(self._queue, (time, URGENT, next(self._eid), event))
