"""Several servers behind a router, each on a machine of its own, in one virtual time.

A machine runs as fast as it likes until it asks for requests. Then whoever is due is decided: a request that arrives at
``t`` goes where the router sends it by what all servers have answered by ``t``, so every server with work has to have
come as far as ``t`` first. Machines are run by turns, never at once, and the furthest behind goes on, so that the same
inputs give the same run. What is left out: the router's own time, and requests that move from one server to another.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from sim.serving.batch import Outputs
from sim.serving.request import Request
from sim.serving.router import Router
from sim.serving.source import RequestSource
from sim.timeline.spans import Timeline

NEVER = 1 << 62
Serve = Callable[[int, "ServerSource"], Timeline]


class _AbandonedError(Exception):
    """Another server's machine has failed: this one's run is of no use any more."""


class Fleet:
    """Shares out the requests of one source among ``count`` servers."""

    def __init__(self, source: RequestSource, router: Router, count: int) -> None:
        self.source = source
        self._router = router
        self._servers = [ServerSource(self, source) for _ in range(count)]
        self._ended = threading.Semaphore(0)
        self._error: BaseException | None = None

    def run(self, serve: Serve) -> list[Timeline]:
        """Have ``serve`` run each server on its part of the requests; raises what the first to fail raises."""
        timelines: dict[int, Timeline] = {}

        def work(number: int) -> None:
            server = self._servers[number]
            server.turn.acquire()
            try:
                if self._error is None:
                    timelines[number] = serve(number, server)
            except _AbandonedError:
                pass
            except BaseException as error:  # noqa: BLE001  raised again where the fleet was started
                self._error = self._error or error
            server.clock = NEVER
            server.ended = True
            self._pass_on(None)

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(self._servers))]
        for thread in threads:
            thread.start()
        self._servers[0].turn.release()
        self._ended.acquire()
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error
        return [timelines[number] for number in range(len(self._servers))]

    def decide(self, server: ServerSource, until: int) -> None:
        """Share out all requests that arrive by ``until``, once every server with work has come as far as they."""
        while (arrival := self.source.next_arrival()) is not None and arrival <= until:
            behind = self._furthest_behind(arrival)
            if behind is None or behind is server:
                for request in self.source.take(arrival):
                    loads = [other.load(arrival) for other in self._servers]
                    self._servers[self._router(request, loads)].give(request)
            else:
                self._pass_on(server, behind)

    def await_request(self, server: ServerSource) -> None:
        """Let others go on until a server without work has been given some, or nobody can send any more."""
        while not server.given:
            arrival = self.source.next_arrival()
            if arrival is not None:
                self.decide(server, arrival)
                continue
            behind = self._furthest_behind(NEVER)
            if self.source.closed or behind is None:
                return
            self._pass_on(server, behind)

    def _furthest_behind(self, time: int) -> ServerSource | None:
        """The server with work that has not come as far as ``time``, or has come least far."""
        behind = [server for server in self._servers if server.busy and server.clock < time]
        return min(behind, key=lambda server: server.clock, default=None)

    def _pass_on(self, server: ServerSource | None, other: ServerSource | None = None) -> None:
        """Let another server go on, and wait for the next turn; raises when a machine has failed meanwhile."""
        if other is None:
            left = [one for one in self._servers if not one.ended]
            if not left:
                self._ended.release()
                return
            other = min(left, key=lambda one: (not one.busy, one.clock))
        other.turn.release()
        if server is not None:
            server.turn.acquire()
            if self._error is not None:
                raise _AbandonedError


class ServerSource:
    """One server's part of the requests, as its machine sees it. ``clock`` is how far that machine has come."""

    def __init__(self, fleet: Fleet, source: RequestSource) -> None:
        self._fleet = fleet
        own = source.without_requests()
        self.stopped, self.next_stop = own.stopped, own.next_stop
        self.turn = threading.Semaphore(0)
        self.given: deque[Request] = deque()
        self.clock = 0
        self.ended = False
        self._num_given = 0
        self._finished: deque[int] = deque()
        self._num_finished = 0

    @property
    def busy(self) -> bool:
        """Whether it has been given requests that it has not answered in full; if not, its load cannot change."""
        return not self.ended and self._num_given > self._num_finished + len(self._finished)

    def load(self, time: int) -> int:
        """Requests that it had been given and not answered in full by a time; asked for in order of time."""
        while self._finished and self._finished[0] <= time:
            self._finished.popleft()
            self._num_finished += 1
        return self._num_given - self._num_finished

    def give(self, request: Request) -> None:
        """The router sends a request."""
        self.given.append(request)
        self._num_given += 1

    def take(self, now: int) -> tuple[Request, ...]:
        """Remove and return what has arrived by ``now``."""
        self.clock = max(self.clock, now)
        self._fleet.decide(self, now)
        taken = []
        while self.given and self.given[0].arrival <= now:
            taken.append(self.given.popleft())
        return tuple(taken)

    def next_arrival(self) -> int | None:
        """When the next request may arrive here; exact for a server without work, which would idle until then."""
        if not self.given and not self.busy:
            self._fleet.await_request(self)
        return self.given[0].arrival if self.given else self._fleet.source.next_arrival()

    @property
    def closed(self) -> bool:
        """Whether no request will come any more."""
        return not self.given and self._fleet.source.closed

    def react(self, outputs: Outputs, now: int) -> None:
        """Clients see outputs."""
        self.clock = max(self.clock, now)
        self._finished.extend([now] * len(outputs.finished))
        self._fleet.source.react(outputs, now)
