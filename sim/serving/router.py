"""Which of several servers gets a request. A router is any callable of (request, loads) -> number of a server.

``loads`` count each server's requests that have been sent to it and not been answered in full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sim.serving.request import Request


class Router(Protocol):
    """The shape of a router; it is asked once for each request, in order of arrival."""

    def __call__(self, request: Request, loads: Sequence[int]) -> int:
        """The number of the server, from 0."""


class RoundRobin:
    """One after the other, whatever they are doing."""

    def __init__(self) -> None:
        self._next = 0

    def __call__(self, request: Request, loads: Sequence[int]) -> int:
        """The server after the last one's."""
        del request
        chosen = self._next % len(loads)
        self._next += 1
        return chosen


class LeastLoaded:
    """The server with the fewest requests; of several the one whose turn is longest ago."""

    def __init__(self) -> None:
        self._turns: dict[int, int] = {}
        self._count = 0

    def __call__(self, request: Request, loads: Sequence[int]) -> int:
        """The least loaded server."""
        del request
        chosen = min(range(len(loads)), key=lambda server: (loads[server], self._turns.get(server, 0), server))
        self._count += 1
        self._turns[chosen] = self._count
        return chosen


ROUTERS: dict[str, Callable[[], Router]] = {"round-robin": RoundRobin, "least-loaded": LeastLoaded}
