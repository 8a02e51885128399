"""Requests that hold no KV blocks, in the order in which they are offered to a policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import overload

from sim.serving.policies import not_waiting
from sim.serving.request import Request


class Waiting(Sequence[Request], ABC):
    """A queue in some order. ``size`` is how many tokens of a request's prompt are to be computed."""

    def bind(self, cached: Callable[[Request], int]) -> None:
        """Be told how to ask how much of a prompt is in the cache; most orders do not care."""

    @abstractmethod
    def add(self, request: Request, size: int) -> None:
        """A request has arrived."""

    @abstractmethod
    def put_back(self, requests: Sequence[Request], sizes: Sequence[int]) -> None:
        """These have lost their blocks, the oldest first: they go before those that arrived after them."""

    @abstractmethod
    def take(self, requests: Collection[Request]) -> None:
        """Some leave; raises ``PolicyError``, and keeps all, when one of them does not wait."""


class ArrivalOrder(Waiting):
    """First come, first served."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque()

    def add(self, request: Request, size: int) -> None:
        """To the end."""
        del size
        self._requests.append(request)

    def put_back(self, requests: Sequence[Request], sizes: Sequence[int]) -> None:
        """To the front."""
        del sizes
        self._requests.extendleft(reversed(requests))

    def take(self, requests: Collection[Request]) -> None:
        """From the front, at no cost for those behind; out of order at the cost of a look at the whole queue."""
        queue = self._requests
        if len(requests) == 1 and queue and queue[0] is next(iter(requests)):
            queue.popleft()
            return
        taken, ids = [], {request.id for request in requests}
        while queue and queue[0].id in ids:
            taken.append(queue.popleft())
        if len(taken) == len(requests):
            return
        left = deque(request for request in queue if request.id not in ids)
        if len(taken) + len(queue) - len(left) != len(requests):
            queue.extendleft(reversed(taken))
            raise not_waiting(requests)
        self._requests = left

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    @overload
    def __getitem__(self, at: int) -> Request: ...
    @overload
    def __getitem__(self, at: slice) -> list[Request]: ...
    def __getitem__(self, at: int | slice) -> Request | list[Request]:
        return list(self._requests)[at] if isinstance(at, slice) else self._requests[at]


class LongestPrefixFirst(ArrivalOrder):
    """Those of whose prompt the cache has most first, of equal ones the oldest.

    Beyond the oldest ``CONSIDERED`` it is first come, first served, as SGLang does with long queues; its threshold is
    given from memory, not from a source. A prompt that nobody shares may wait for ever.
    """

    CONSIDERED = 128

    def __init__(self) -> None:
        super().__init__()
        self._cached: Callable[[Request], int] = lambda _: 0

    def bind(self, cached: Callable[[Request], int]) -> None:
        """Ask the cache."""
        self._cached = cached

    def __iter__(self) -> Iterator[Request]:
        queue = iter(self._requests)
        yield from sorted(islice(queue, self.CONSIDERED), key=self._cached, reverse=True)
        yield from queue

    @overload
    def __getitem__(self, at: int) -> Request: ...
    @overload
    def __getitem__(self, at: slice) -> list[Request]: ...
    def __getitem__(self, at: int | slice) -> Request | list[Request]:
        return next(iter(self)) if at == 0 and self._requests else list(self)[at]


class ShortestFirst(Waiting):
    """Those with the least to compute first, of equal ones the oldest: a long prompt may wait for ever."""

    def __init__(self) -> None:
        self._order: list[tuple[int, int, int]] = []
        self._known: dict[int, tuple[Request, int]] = {}

    def add(self, request: Request, size: int) -> None:
        """To its place by size."""
        self._known[request.id] = request, size
        insort(self._order, (size, request.arrival, request.id))

    def put_back(self, requests: Sequence[Request], sizes: Sequence[int]) -> None:
        """To their places by size."""
        for request, size in zip(requests, sizes, strict=True):
            self.add(request, size)

    def take(self, requests: Collection[Request]) -> None:
        """From anywhere."""
        if len({r.id for r in requests if r.id in self._known}) < len(requests):
            raise not_waiting(requests)
        for request in requests:
            _, size = self._known.pop(request.id)
            del self._order[bisect_left(self._order, (size, request.arrival, request.id))]

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Request]:
        return (self._known[number][0] for _, _, number in self._order)

    @overload
    def __getitem__(self, at: int) -> Request: ...
    @overload
    def __getitem__(self, at: slice) -> list[Request]: ...
    def __getitem__(self, at: int | slice) -> Request | list[Request]:
        if isinstance(at, slice):
            return [self._known[number][0] for _, _, number in self._order[at]]
        return self._known[self._order[at][2]][0]


ORDERINGS: dict[str, type[Waiting]] = {
    "fcfs": ArrivalOrder,
    "longest-prefix": LongestPrefixFirst,
    "shortest-first": ShortestFirst,
}
