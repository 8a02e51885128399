"""How kernels that run at once share the multiprocessors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.machine.clock import Clock

FULL = 1000  # shares are counted in thousandths of the device
NS = 10**9  # and progress in parts this small of a nanosecond, so that it stays in integers


class Execution:
    """A running kernel: ``left`` of its undisturbed time remains, ``rate`` is its progress a nanosecond, in ``NS``.

    ``began`` is when it first got multiprocessors, None before; then ``on_begin`` is called.
    """

    __slots__ = ("began", "left", "on_begin", "on_end", "rate", "share", "since", "version")

    def __init__(
        self,
        ns: int | None,
        sm: float,
        on_end: Callable[[Execution], None] | None = None,
        *,
        on_begin: Callable[[], None] | None = None,
        began: int | None = None,
    ) -> None:
        self.left = None if ns is None else ns * NS
        self.share = round(sm * FULL)
        self.on_end = on_end
        self.since = 0
        self.rate = 0
        self.began = began
        self.on_begin = on_begin
        self.version = 0


class Sharing:
    """First come, first served: a kernel takes its share of the device, or what those that started before it leave.

    This is how the device places thread blocks: those of a later kernel get the multiprocessors that run free. A
    kernel with a part of its share is slower in proportion; the time for all work is what it would be one after the
    other. Leaves out caches, memory bandwidth and that blocks end at different times.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.running: list[Execution] = []

    def add(self, execution: Execution) -> None:
        """Start a kernel now. One without an end (``ns`` None) runs until ``end``."""
        execution.since = self._clock.now
        self.running.append(execution)
        self._share_out()

    def end(self, execution: Execution) -> None:
        """Stop a running kernel now."""
        self.running.remove(execution)
        execution.version += 1
        self._share_out()

    def _share_out(self) -> None:
        """Give each kernel its multiprocessors and book anew the ends of those whose rate changes."""
        now, free = self._clock.now, FULL
        begun: list[Execution] = []
        for execution in self.running:
            taken = min(execution.share, free)
            free -= taken
            # rounded up: an end must not slip a nanosecond
            rate = NS if taken == execution.share else -(-NS * taken // execution.share)
            if execution.began is None and (taken or not execution.share):
                execution.began = now
                begun.append(execution)
            if rate == execution.rate:
                continue
            if execution.left is not None:
                execution.left = max(0, execution.left - (now - execution.since) * execution.rate)
                execution.version += 1
                if rate:
                    end = now - (-execution.left // rate)
                    self._clock.call_at(end, self._ended, (execution, execution.version))
            execution.since, execution.rate = now, rate
        for execution in begun:
            if execution.on_begin is not None:
                execution.on_begin()

    def _ended(self, event: Any) -> None:
        execution, version = event.value
        if version == execution.version:
            self.end(execution)
            assert execution.on_end is not None
            execution.on_end(execution)
