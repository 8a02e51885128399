"""The interpreter lock of one process."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Any

from simpy import Event

from sim.machine.clock import Clock
from sim.program.constants import Constants

Process = Generator[Event, Any, None]


class Gil:
    """CPython's lock: a thread that wants it waits ``gil_switch_interval`` before it makes the holder let go.

    A holder that calls into the driver lets go by itself. Waiters are served in the order in which they came, each
    ``gil_handoff`` after the release. Leaves out threads of native code that never take the lock. Raises ``ValueError``
    for an interval of 0, which CPython refuses, too: threads would hand the lock to and fro for ever.
    """

    def __init__(self, clock: Clock, constants: Constants) -> None:
        if constants.gil_switch_interval < 1:
            raise ValueError(f"gil_switch_interval must be at least 1 ns, got {constants.gil_switch_interval}")
        self._clock = clock
        self._interval = constants.gil_switch_interval
        self._handoff = constants.gil_handoff
        self._held = False
        self._since = 0  # when the holder got the lock: each holder has an interval to itself
        self._waiting: deque[tuple[Event, int]] = deque()
        self._demand: Event | None = None

    def acquire(self) -> Process:
        """Return when the calling process holds the lock."""
        if not self._held:
            self._held = True
            self._since = self._clock.now
            return
        turn = self._clock.event()
        self._waiting.append((turn, self._clock.now))
        self._ask()
        yield turn
        yield self._clock.timeout(self._handoff)
        self._since = self._clock.now

    def release(self) -> None:
        """Let go; the oldest waiter, if any, becomes the holder."""
        self._demand = None
        if self._waiting:
            turn, _ = self._waiting.popleft()
            turn.succeed()
        else:
            self._held = False

    def hold(self, ns: int) -> Process:
        """Run for ``ns`` under the lock, which the calling process holds and may lose and regain on the way."""
        left = ns
        while left > 0:
            began = self._clock.now
            self._demand = self._clock.event()
            self._ask()
            yield self._clock.timeout(left) | self._demand
            left -= self._clock.now - began
            if left > 0:
                self.release()
                yield from self.acquire()
        self._demand = None

    def _ask(self) -> None:
        """Have the oldest waiter demand the lock once it has waited long enough for a holder that runs on."""
        demand = self._demand
        if demand is None or not self._waiting:
            return
        due = max(self._clock.now, max(self._waiting[0][1], self._since) + self._interval)

        def demand_it(_event: Event) -> None:
            if self._demand is demand and not demand.triggered:
                demand.succeed()

        self._clock.call_at(due, demand_it)
