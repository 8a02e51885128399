"""Where requests come from in virtual time, and who alone knows when they stop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from heapq import heappop, heappush

from sim.serving.batch import Batch, Outputs
from sim.serving.request import Request


class RequestSource:
    """Requests in order of arrival. ``stops`` says which token, counted from 1, is a request's stop token.

    A request whose stop lies beyond its ``max_tokens``, or that has none, ends by length.
    """

    def __init__(self, requests: Iterable[Request], stops: Mapping[int, int] | None = None) -> None:
        self._requests = sorted(requests, key=lambda r: (r.arrival, r.id))
        self._stops = dict(stops or {})
        self._next = 0
        self._due: list[tuple[int, int]] = []
        self._falls: dict[int, int] = {}
        self._before: dict[int, int] = {}
        self._expected = -1

    def spaced(self, interval: int) -> RequestSource:
        """The same requests, one every ``interval`` nanoseconds."""
        spaced = (replace(request, arrival=i * interval) for i, request in enumerate(self._requests))
        return RequestSource(spaced, self._stops)

    def without_requests(self) -> RequestSource:
        """A source of no requests that knows who stops: the view of one of several servers."""
        return RequestSource((), self._stops)

    def everything(self) -> tuple[Request, ...]:
        """All requests that come in a whole run, whenever; nothing is removed."""
        return tuple(self._requests)

    def take(self, now: int) -> tuple[Request, ...]:
        """Remove and return what has arrived by ``now``."""
        first = self._next
        while self._next < len(self._requests) and self._requests[self._next].arrival <= now:
            self._next += 1
        return tuple(self._requests[first : self._next])

    def next_arrival(self) -> int | None:
        """When the next request arrives, None when no more will."""
        return self._requests[self._next].arrival if self._next < len(self._requests) else None

    @property
    def closed(self) -> bool:
        """Whether no request will come any more."""
        return self._next == len(self._requests)

    def react(self, outputs: Outputs, now: int) -> None:
        """Clients see some outputs; those of an open workload do not care."""

    def stopped(self, batch: Batch) -> tuple[int, ...]:
        """Ids of the requests whose stop token this batch produced; asked once a batch, in launch order.

        A request decodes in every decode batch from the one it joined, so its stop falls due at a known counter.
        """
        if not self._stops:
            return ()
        self._expect(batch)
        ends = ((chunk.request.id, chunk.output) for chunk in batch.prompts if chunk.output)
        stopped = [number for number, output in ends if self._stops.get(number) == output]
        while (due := self.next_stop()) is not None and due <= batch.counter:
            stopped.append(heappop(self._due)[1])
            del self._falls[stopped[-1]]
        return tuple(stopped)

    def _expect(self, batch: Batch) -> None:
        """See once, in launch order, what a batch tells of stops to come."""
        if batch.index <= self._expected:
            return
        self._expected = batch.index
        for request in batch.preempted:
            self._falls.pop(request.id, None)
        for chunk in batch.prompts:
            if chunk.output:
                self._before[chunk.request.id] = chunk.output
        for request in batch.joined:
            stop = self._stops.get(request.id)
            before = self._before.pop(request.id, 0)
            if stop is not None and before < stop <= request.max_tokens:
                self._falls[request.id] = batch.counter + stop - before - 1
                heappush(self._due, (self._falls[request.id], request.id))

    def next_stop(self, oldest: Batch | None = None) -> int | None:
        """Number of the decode batch in which the next request stops, among those known from batches so far.

        Those are the ones that ``stopped`` was asked about, and the ``oldest`` in flight, which is the next.
        """
        if oldest is not None and oldest.joined and self._stops:
            self._expect(oldest)
        while self._due and self._falls.get(self._due[0][1]) != self._due[0][0]:
            heappop(self._due)  # of a request that has lost its blocks
        return self._due[0][0] if self._due else None


class ClosedLoop(RequestSource):
    """Clients who each wait for an answer before they ask again.

    The first ``clients`` requests arrive at the start; ``think`` nanoseconds after the last token of request i its
    client sends request i + ``clients``. So each client asks the same things, whoever serves it and however fast.
    """

    def __init__(
        self, requests: Iterable[Request], stops: Mapping[int, int] | None, clients: int, think: int = 0
    ) -> None:
        super().__init__((), stops)
        self._drafts = sorted(requests, key=lambda r: r.id)
        self._clients = clients
        self._think = think
        self._sent = [(0, r.id) for r in self._drafts[:clients]]
        self._unsent = len(self._drafts) - len(self._sent)

    def everything(self) -> tuple[Request, ...]:
        """Those that clients send in answer to something, too."""
        return tuple(self._drafts)

    def take(self, now: int) -> tuple[Request, ...]:
        """Remove and return what has arrived by ``now``."""
        taken = []
        while self._sent and self._sent[0][0] <= now:
            arrival, number = heappop(self._sent)
            taken.append(replace(self._drafts[number], arrival=arrival))
        return tuple(taken)

    def next_arrival(self) -> int | None:
        """When the next request that has been sent arrives, None when there is none."""
        return self._sent[0][0] if self._sent else None

    @property
    def closed(self) -> bool:
        """Whether no request will come any more."""
        return not self._sent and not self._unsent

    def react(self, outputs: Outputs, now: int) -> None:
        """Clients whose request has ended think, and send their next."""
        for request, _, _ in outputs.finished:
            following = request.id + self._clients
            if following < len(self._drafts):
                self._unsent -= 1
                heappush(self._sent, (now + self._think, following))


class NoRequests:
    """A source for loops that serve nobody."""

    closed = True

    def take(self, now: int) -> tuple[Request, ...]:
        """Nothing ever arrives."""
        del now
        return ()

    def next_arrival(self) -> int | None:
        """No request will come."""
        return None

    def react(self, outputs: Outputs, now: int) -> None:
        """There are no clients."""

    def stopped(self, batch: Batch) -> tuple[int, ...]:
        """Nobody stops."""
        del batch
        return ()

    def next_stop(self, oldest: Batch | None = None) -> int | None:
        """Nobody stops."""
        del oldest
        return None
