"""The host thread's clock, and what its calls reach."""

from __future__ import annotations

from sim.fast.device import Device, Stream
from sim.fast.spans import SpanWriter
from sim.program.calls import HostCosts
from sim.program.jitter import Jitter


class Caller:
    """Pays for calls: ``now`` is the host thread's clock, and the only one there is."""

    __slots__ = ("costs", "device", "jitter", "now", "spans")

    def __init__(self, costs: HostCosts, device: Device, spans: SpanWriter, jitter: Jitter | None) -> None:
        self.now = 0
        self.costs = costs
        self.device = device
        self.spans = spans
        self.jitter = jitter

    def spend(self, ns: int) -> None:
        """Pass host time whose median is this."""
        self.now += ns if self.jitter is None else self.jitter(ns)

    def paid(self, held: int, api: int) -> int:
        """Make a call; returns when it began."""
        start = self.now
        if self.jitter is None:
            self.now = start + held + api
        else:
            self.now = start + self.jitter(held) + self.jitter(api)
        return start

    def passed(self, ns: int) -> None:
        """Make calls that take so long together."""
        self.now += int(ns)

    def launched(self, stream: Stream, start: int, name: str, step: int) -> None:
        """A launch's call returns, later if the queue is full."""
        self.now = self.device.later(self.now, stream.launches.opens(self.now))
        self.spans.call(start, self.now, name, step)
