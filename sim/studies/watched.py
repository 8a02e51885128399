"""A source of requests that tells how many have been served."""

from __future__ import annotations

from collections.abc import Callable

from sim.effects import Source
from sim.serving.batch import Outputs

EVERY = 100
"""Requests from one telling to the next."""


class WatchedSource:
    """Passes everything on, and calls ``told`` with the number of finished requests now and then."""

    def __init__(self, source: Source, told: Callable[[int], None]) -> None:
        self._source = source
        self._told = told
        self._finished = 0
        self.take = source.take
        self.next_arrival = source.next_arrival
        self.stopped = source.stopped
        self.next_stop = source.next_stop

    @property
    def closed(self) -> bool:
        """Whether no request will come any more."""
        return self._source.closed

    def react(self, outputs: Outputs, now: int) -> None:
        """Clients see outputs."""
        self._source.react(outputs, now)
        if outputs.finished:
            before, self._finished = self._finished, self._finished + len(outputs.finished)
            if before // EVERY < self._finished // EVERY:
                self._told(self._finished)
