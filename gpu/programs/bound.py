"""Operations that carry the call that enqueues them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sim.program.ops import Copy, Kernel, Op, Record, Replay, Think, WaitEvent

Run = Callable[[], object]


def nothing() -> None:
    """What recording an event or waiting for one takes where there are no streams."""


@dataclass(frozen=True, slots=True)
class BoundKernel(Kernel):
    """A kernel; how long it takes is for the device to say, so its ``ns`` means nothing."""

    run: Run = nothing


@dataclass(frozen=True, slots=True)
class BoundCopy(Copy):
    """A copy between host and device."""

    run: Run = nothing


@dataclass(frozen=True, slots=True)
class BoundRecord(Record):
    """The record of an event."""

    run: Run = nothing


@dataclass(frozen=True, slots=True)
class BoundWait(WaitEvent):
    """A stream's wait for an event."""

    run: Run = nothing


@dataclass(frozen=True, slots=True)
class BoundEnter(Think):
    """Making another stream the one that calls go to; how long it takes is for the host to say."""

    run: Run = nothing


@dataclass(frozen=True, slots=True)
class BoundReplay(Replay):
    """One launch of a captured graph; ``body`` is what was captured, in the order of calls."""

    run: Run = nothing
    body: tuple[Op, ...] = ()
