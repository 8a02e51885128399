"""A device whose streams never compete: each entry's times follow from the entries before it in program order."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np

from sim.fast.launch_queue import NEVER, LaunchQueue
from sim.fast.refusal import OutsideError
from sim.program.constants import Constants
from sim.program.ops import Copy, Direction
from sim.timeline.spans import Column, Place, Recorder


class Stream:
    """``free_at`` is the end of its last entry, ``floor`` the latest event that it waited for."""

    __slots__ = ("floor", "free_at", "launches", "name", "replayed", "track")

    def __init__(self, name: str, track: int, depth: int) -> None:
        self.name = name
        self.track = track
        self.free_at = NEVER
        self.floor = NEVER
        self.replayed = False
        self.launches = LaunchQueue(depth)

    @property
    def reached(self) -> int:
        """When everything before the next entry is done."""
        return max(self.floor, self.free_at)


class Device:
    """Streams, copy engines and executable graphs of one rank, settled entry by entry as they are enqueued.

    That is exact while kernels become ready in the order in which they were launched, each after the one before it
    on another stream has ended, and copies reach their engine in the order of their calls. Where they do not,
    ``OutsideError`` is raised.
    """

    def __init__(self, constants: Constants, recorder: Recorder, warm: Iterable[Hashable] = ()) -> None:
        self.constants = constants
        self.streams: dict[str, Stream] = {}
        self.events: dict[Hashable, int] = {}
        self.launched = set(warm)
        self._recorder = recorder
        self._executables: dict[Hashable, int] = {}
        self._engines: dict[Direction, tuple[Stream, int, int]] = {}  # of the last copy: stream, when ready, end
        self._last: Stream | None = None
        self._ready = NEVER
        self._busy_until = NEVER
        self._free_from = NEVER

    def stream(self, name: str) -> Stream:
        """The stream of this name, made on first use."""
        found = self.streams.get(name)
        if found is None:
            track = self._recorder.track(name, Place.STREAM)
            found = self.streams[name] = Stream(name, track, self.constants.queue_depth)
        return found

    @property
    def idle_since(self) -> int:
        """When the last entry of all streams ends."""
        return max((stream.free_at for stream in self.streams.values()), default=NEVER)

    def kernel(self, stream: Stream, submit: int, ns: int) -> int:
        """Start of a kernel whose call returns at ``submit``."""
        constants = self.constants
        start = self._granted(stream, submit + constants.launch_latency, constants.stream_gap)
        stream.replayed = False
        stream.launches.add(start)
        stream.free_at = self._busy_until = start + ns
        return start

    def train(self, stream: Stream, submits: Column, ns: Column) -> Column:
        """Starts of kernels launched one after the other: a prefix scan over (max, +)."""
        constants = self.constants
        ready = submits + constants.launch_latency
        before = np.cumsum(ns + constants.stream_gap)
        before -= ns + constants.stream_gap
        first = self._granted(stream, int(ready[0]), constants.stream_gap)
        ready -= before
        ready[0] = first
        starts = np.maximum.accumulate(ready)
        starts += before
        last = int(starts[-1])
        stream.replayed = False
        stream.launches.add_train(starts)
        stream.free_at = self._busy_until = last + int(ns[-1])
        if len(starts) > 1:
            self._ready = last
            self._free_from = last + constants.dispatch_interval
        return starts

    def replay(self, stream: Stream, executable: Hashable, submit: int, nodes: int, ns: int) -> int:
        """Start of a graph's first kernel; ``ns`` are the durations of all its ``nodes``, gaps not included."""
        constants = self.constants
        latency = constants.graph_launch_latency + constants.graph_launch_latency_per_1000_nodes * nodes // 1000
        submitted = max(submit + latency, self._executables.get(executable, NEVER))
        start = self._granted(stream, submitted, constants.replay_gap if stream.replayed else constants.stream_gap)
        stream.replayed = True
        stream.launches.add(start)
        end = start + ns + constants.graph_gap * (nodes - 1)
        stream.free_at = self._busy_until = self._executables[executable] = end
        return start

    def copy(self, stream: Stream, submit: int, op: Copy) -> int:
        """Start of a copy on its engine."""
        ready = max(stream.reached + self.constants.stream_gap, submit + self.constants.copy_latency)
        start = ready
        if op.direction in self._engines:
            other, before, end = self._engines[op.direction]
            if other is not stream and ready <= before:
                raise OutsideError(f"copies of streams {other.name!r} and {stream.name!r} race for one copy engine")
            start = max(ready, end)
        stream.replayed = False
        stream.launches.add(start)
        stream.free_at = start + op.ns
        self._engines[op.direction] = stream, ready, stream.free_at
        return start

    def record(self, stream: Stream, submit: int, *, timed: bool) -> int:
        """When an event that is recorded now fires."""
        fired = max(stream.reached, submit)
        if timed:
            fired += self.constants.timed_event
            stream.free_at = fired
        return fired

    def _granted(self, stream: Stream, submitted: int, gap: int) -> int:
        """When the front end starts a kernel."""
        in_order = (max(stream.floor, stream.free_at)) + gap
        start = ready = max(submitted, in_order)
        if self._last is not stream:
            if self._last is not None:
                if ready < self._busy_until or ready <= self._ready:
                    raise OutsideError(f"kernels of streams {self._last.name!r} and {stream.name!r} at once")
                switch = self.constants.stream_switch if in_order >= submitted else 0
                start = max(ready + switch, self._free_from)
            self._last = stream
        self._ready = ready
        self._free_from = start + self.constants.dispatch_interval
        return start
