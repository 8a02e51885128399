"""A device whose streams never compete: each entry's times follow from the entries before it in program order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial

from sim.fast.launch_queue import NEVER, LaunchQueue
from sim.fast.pace import Pace
from sim.fast.refusal import OutsideError
from sim.program.constants import Constants
from sim.program.ops import Direction
from sim.timeline.spans import Place, Recorder


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


class Device:
    """Streams, copy engines and executable graphs of one rank, settled entry by entry as they are enqueued.

    That is exact while kernels become ready in the order in which they were launched, each after the one before it
    on another stream has ended, and copies reach their engine in the order of their calls. Where they do not,
    ``OutsideError`` is raised. ``last`` is the stream of the last kernel, ``ready`` when that was ready, ``free_from``
    when the front end may start another stream's; ``engines`` hold the stream of their last copy, when it was ready
    and its end.
    """

    later: Callable[[int, int], int] = staticmethod(max)

    def __init__(self, constants: Constants, recorder: Recorder, warm: Iterable[Hashable] = ()) -> None:
        self.constants = constants
        self.streams: dict[str, Stream] = {}
        self.events: dict[Hashable, int] = {}
        self.launched = set(warm)
        self._recorder = recorder
        self.engines: dict[Direction, tuple[Stream, int, int]] = {}
        self.last: Stream | None = None
        self.ready = NEVER
        self.busy_until = NEVER
        self.free_from = NEVER

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
        stream.free_at = self.busy_until = start + ns
        return start

    def train(self, stream: Stream, pace: Pace, now: int) -> int:
        """Start of the first of some kernels launched one after the other from ``now`` on."""
        constants = self.constants
        first = self._granted(stream, now + pace.first, constants.stream_gap)
        last = self.later(first, now + pace.slack) + pace.before
        stream.replayed = False
        stream.launches.add_train(pace.count, last, partial(pace.starts, first, now))
        stream.free_at = self.busy_until = last + pace.last
        self.ready = last
        self.free_from = last + constants.dispatch_interval
        return first

    def replay(self, stream: Stream, submit: int, nodes: int, ns: int) -> int:
        """Start of a graph's first kernel; ``ns`` are the durations of all its ``nodes``, gaps not included."""
        constants = self.constants
        latency = constants.graph_launch_latency + constants.graph_launch_latency_per_1000_nodes * nodes // 1000
        # no executable can be running: this stream's entries are done by then, and others' are done or refused
        gap = constants.replay_gap if stream.replayed else constants.stream_gap
        start = self._granted(stream, submit + latency, gap)
        stream.replayed = True
        stream.launches.add(start)
        end = start + ns + constants.graph_gap * (nodes - 1)
        stream.free_at = self.busy_until = end
        return start

    def copy(self, stream: Stream, submit: int, direction: Direction, ns: int) -> int:
        """Start of a copy on its engine."""
        ready = self.later(self.reached(stream) + self.constants.stream_gap, submit + self.constants.copy_latency)
        start = ready
        if direction in self.engines:
            other, before, end = self.engines[direction]
            if other is not stream:
                self._in_turn(other, stream, ready, before)
            start = self.later(ready, end)
        stream.replayed = False
        stream.launches.add(start)
        stream.free_at = start + ns
        self.engines[direction] = stream, ready, stream.free_at
        return start

    def record(self, stream: Stream, submit: int, *, timed: bool) -> int:
        """When an event that is recorded now fires."""
        fired = self.later(self.reached(stream), submit)
        if timed:
            fired += self.constants.timed_event
            stream.free_at = fired
        return fired

    def reached(self, stream: Stream) -> int:
        """When everything before a stream's next entry is done."""
        return self.later(stream.free_at, stream.floor)

    def _granted(self, stream: Stream, submitted: int, gap: int) -> int:
        """When the front end starts a kernel."""
        in_order = self.later(stream.free_at, stream.floor) + gap
        start = ready = self.later(in_order, submitted)
        if self.last is not stream:
            start = self._switched(stream, ready, backlog=in_order >= submitted)
        self.ready = ready
        self.free_from = start + self.constants.dispatch_interval
        return start

    def _switched(self, stream: Stream, ready: int, *, backlog: bool) -> int:
        """When the front end starts a kernel, the last one having come from another stream."""
        before, self.last = self.last, stream
        if before is None:
            return ready
        if ready < self.busy_until or ready <= self.ready:
            raise OutsideError(f"kernels of streams {before.name!r} and {stream.name!r} at once")
        return max(ready + (self.constants.stream_switch if backlog else 0), self.free_from)

    def _in_turn(self, other: Stream, stream: Stream, ready: int, before: int) -> None:
        """Refuse a copy that overtakes the last one, from another stream, on the way to their engine."""
        if ready <= before:
            raise OutsideError(f"copies of streams {other.name!r} and {stream.name!r} race for one copy engine")


class Blind(Device):
    """A device whose times are not numbers: which of two comes first cannot be asked, and is ``refused``."""

    refused: type[OutsideError] = OutsideError

    def _switched(self, stream: Stream, ready: int, *, backlog: bool) -> int:
        del ready, backlog
        raise self.refused(f"kernels that alternate between streams, {stream.name!r} being one")

    def _in_turn(self, other: Stream, stream: Stream, ready: int, before: int) -> None:
        del ready, before
        raise self.refused(f"copies of streams {other.name!r} and {stream.name!r} on one engine")
