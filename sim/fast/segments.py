"""What a plan is made of: calls that know what they cost and what they enqueue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np

from sim.effects import Step
from sim.fast.blocks import Tree, folded
from sim.fast.caller import Caller
from sim.fast.device import Stream
from sim.fast.pace import Pace
from sim.fast.paced import Ends, ends_of
from sim.fast.refusal import OutsideError
from sim.program.calls import Call
from sim.program.constants import Constants
from sim.program.ops import STEP, Copy, Kernel
from sim.timeline.spans import Column, Kind

REMEMBERED = 32768
"""Lists of durations whose paces a train keeps: prompts of one length come again."""
_NONE = np.empty(0, dtype=np.int64)


class Filled:
    """What the operations of one step take, in nanoseconds, by their positions: numbers, or columns of numbers."""

    __slots__ = ("_column", "_paces", "ns")

    def __init__(self, ns: Sequence[Any] | Column) -> None:
        self.ns = ns
        self._column: Column | None = None
        self._paces: dict[Train, Pace] = {}

    @property
    def column(self) -> Column:
        """The same as an array."""
        if self._column is None:
            self._column = np.asarray(self.ns, dtype=np.int64)
        return self._column

    def pace(self, train: Train, constants: Constants) -> Pace:
        """A train's pace on a host without jitter."""
        pace = self._paces.get(train)
        if pace is None:
            pace = self._paces[train] = Pace.of(train.returns, self.column[train.at], constants)
        return pace


class Segment(Protocol):
    """One call or more on one stream."""

    def make(self, caller: Caller, stream: Stream, filled: Filled, step: Step) -> None:
        """Make the calls and settle what they enqueue."""


@dataclass(frozen=True, slots=True)
class KernelCall:
    """One kernel like ``op``."""

    at: int
    op: Kernel
    call: Call

    def make(self, caller: Caller, stream: Stream, filled: Filled, step: Step) -> None:
        """Launch it."""
        start = caller.paid(self.call.held, self.call.api)
        ns = filled.ns[self.at]
        begin = caller.device.kernel(stream, caller.now, ns)
        caller.launched(stream, start, self.call.name, step.index)
        caller.spans.kernel(stream.track, begin, begin + ns, self.op.name, step.index)


@dataclass(frozen=True, slots=True)
class CopyCall:
    """One copy like ``op``, which holds the caller until it is done if it is pageable."""

    at: int
    op: Copy
    call: Call

    def make(self, caller: Caller, stream: Stream, filled: Filled, step: Step) -> None:
        """Enqueue it."""
        start = caller.paid(self.call.held, self.call.api)
        op, ns = self.op, filled.ns[self.at]
        begin = caller.device.copy(stream, caller.now, op.direction, ns)
        caller.now = caller.device.later(caller.now, stream.launches.opens(caller.now))
        if not op.pinned:
            copied = max(caller.device.reached(stream), 0)
            caller.now = copied + caller.costs.constants.wake_spin if copied > caller.now else caller.now
        caller.spans.call(start, caller.now, self.call.name, step.index)
        caller.spans.copy(stream.track, begin, begin + ns, op, step.index)


@dataclass(frozen=True, slots=True)
class RecordCall:
    """The record of an event."""

    event: Hashable
    timed: bool
    call: Call

    def make(self, caller: Caller, stream: Stream, filled: Filled, step: Step) -> None:
        """Record it, for the step or for whoever knows its name."""
        del filled
        start = caller.paid(self.call.held, self.call.api)
        fired = caller.device.record(stream, caller.now, timed=self.timed)
        if self.event is STEP:
            step.mark = fired
        else:
            caller.device.events[self.event] = fired
        caller.spans.call(start, caller.now, self.call.name, step.index)


@dataclass(frozen=True, slots=True)
class WaitCall:
    """A stream's wait for an event."""

    event: Hashable
    call: Call

    def make(self, caller: Caller, stream: Stream, filled: Filled, step: Step) -> None:
        """Hold the stream until the latest record has fired, if there is any."""
        del filled
        start = caller.paid(self.call.held, self.call.api)
        fired: int | None = step.mark if self.event is STEP else caller.device.events.get(self.event)
        if fired is not None:
            stream.floor = caller.device.later(stream.floor, fired)
        caller.spans.call(start, caller.now, self.call.name, step.index)


@dataclass(frozen=True, slots=True)
class Thought:
    """Host time that enqueues nothing."""

    call: Call

    def make(self, caller: Caller, stream: Stream, filled: Filled, step: Step) -> None:
        """Pass it."""
        del stream, filled
        start = caller.paid(self.call.held, self.call.api)
        caller.spans.host(start, caller.now, Kind.HOST, self.call.name, step=step.index)


@dataclass(frozen=True, slots=True)
class Refused:
    """An operation that is outside."""

    feature: str

    def make(self, caller: Caller, stream: Stream, filled: Filled, step: Step) -> None:
        """Raise ``OutsideError``."""
        del caller, stream, filled, step
        raise OutsideError(self.feature)


@dataclass(frozen=True, eq=False, slots=True)
class Chain:
    """A replay of a graph: positions of its kernels' durations, their names, and how often each position occurs."""

    executable: Hashable
    call: Call
    first: int
    at: Column
    names: Column
    counts: tuple[tuple[int, int], ...]

    def make(self, caller: Caller, stream: Stream, filled: Filled, step: Step) -> None:
        """Launch it; the first time it costs more."""
        device, api = caller.device, self.call.api
        if self.executable not in device.launched:
            device.launched.add(self.executable)
            api += self.first
        start = caller.paid(self.call.held, api)
        each, ns = filled.ns, 0
        for at, count in self.counts:
            ns += each[at] * count
        begin = device.replay(stream, caller.now, len(self.at), ns)
        caller.launched(stream, start, self.call.name, step.index)
        if caller.spans.kept:
            gap = device.constants.graph_gap
            caller.spans.graph(stream.track, begin, filled.column[self.at], self.names, gap, step.index)


@dataclass(eq=False)
class Train:
    """Kernels launched one after the other: positions of their durations, their names and the calls."""

    at: Column
    names: Column
    calls: tuple[Call, ...]
    _ends: Ends | None = field(default=None, init=False, repr=False)
    _known: dict[int, tuple[Sequence[int], Pace]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def costs(self) -> Column:
        """What each call holds the framework for, and its API for."""
        return np.array([(call.held, call.api) for call in self.calls], dtype=np.int64)

    @cached_property
    def returns(self) -> Column:
        """When each call returns, from the beginning of the first, on a host without jitter."""
        return np.cumsum(self.costs.sum(axis=1))

    @cached_property
    def rest(self) -> Tree:
        """All kernels but the first, what repeats once."""
        return folded(self.at[1:].tolist())

    @cached_property
    def total(self) -> Any:
        """What all calls take; a column where calls take columns."""
        counts = Counter(map(id, self.calls))
        return sum(count * next(c.ns for c in self.calls if id(c) == number) for number, count in counts.items())

    def paced(self, ns: Sequence[int], constants: Constants) -> Pace:
        """The pace of a step whose operations take this long, in few numbers; lists that come again are known."""
        known = self._known.get(id(ns))
        if known is not None and known[0] is ns:
            return known[1]
        if self._ends is None:
            calls = dict(zip(self.at.tolist(), self.calls, strict=True))
            self._ends = ends_of(int(self.at[0]), self.rest, int(self.at[-1]), calls, constants)
        pace = Pace(len(self.calls), *self._ends(ns), _NONE, _NONE, whole=partial(self._whole, ns, constants))
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[id(ns)] = ns, pace
        return pace

    def _whole(self, ns: Sequence[int], constants: Constants) -> Pace:
        return Filled(ns).pace(self, constants)

    def make(self, caller: Caller, stream: Stream, filled: Filled, step: Step) -> None:
        """Launch them, in blocks of the launch queue's depth if it can fill."""
        launches = stream.launches
        constants = caller.device.constants
        jittered = None
        if caller.jitter is None:
            pace, total = filled.pace(self, constants), self.total
        else:
            jittered = np.cumsum(caller.jitter.many(self.costs.ravel()).reshape(-1, 2).sum(axis=1))
            pace, total = Pace.of(jittered, filled.column[self.at], constants), jittered[-1]
        if not launches.can_fill(caller.now, pace.count):
            first = caller.device.train(stream, pace, caller.now)
            if caller.spans.kept:
                ns, returns = filled.column[self.at], self.returns if jittered is None else jittered
                caller.spans.train(stream.track, caller.now, returns, pace, first, ns, self.names, step.index)
            caller.passed(total)
            return
        returns = self.returns if jittered is None else jittered
        costs, ns = np.diff(returns, prepend=0), filled.column[self.at]
        for low in range(0, pace.count, launches.depth):
            block = slice(low, low + launches.depth)
            self._held_up(caller, stream, costs[block], ns[block], self.names[block], step.index)

    @staticmethod
    def _held_up(caller: Caller, stream: Stream, costs: Column, ns: Column, names: Column, step: int) -> None:
        """A piece of a train, no longer than the launch queue, each of whose calls may have to wait for its slot."""
        opens = stream.launches.opens_train(len(ns))
        total = np.cumsum(costs)
        returns = total + np.maximum(caller.now, np.maximum.accumulate(opens - total))
        submits = np.append(caller.now, returns[:-1]) + costs
        pace = Pace.of(submits - caller.now, ns, caller.device.constants)
        first = caller.device.train(stream, pace, caller.now)
        caller.spans.train(stream.track, caller.now, returns - caller.now, pace, first, ns, names, step)
        caller.now = int(returns[-1])
