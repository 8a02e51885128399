"""One rank's device: streams behind a shared front end, multiprocessors, copy engines, executable graphs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from functools import partial

from simpy import Event

from sim.machine.clock import FOREVER, NEVER, Clock
from sim.machine.events import Mark
from sim.machine.sharing import Sharing
from sim.machine.stream import Stream
from sim.program.constants import Constants
from sim.program.ops import Collective
from sim.timeline.spans import Place, Recorder


class CopyEngine:
    """Moves one buffer at a time, in the order in which copies become ready."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._free_at = NEVER

    def take(self, ns: int) -> int:
        """Start of a copy that is ready now and takes ``ns``."""
        start = max(self._clock.now, self._free_at)
        self._free_at = start + ns
        return start


class Executable:
    """An instantiated graph: it never runs twice at once, and its launches run in the order of their calls.

    So CUDA orders them, whatever the streams: behind what its stream has before it, and behind the launch before it.
    """

    def __init__(self) -> None:
        self.free_at = NEVER
        self._line: deque[int] = deque()
        self._waiting: dict[int, Callable[[], None]] = {}

    def launched(self, correlation: int) -> None:
        """A call has launched it once more."""
        self._line.append(correlation)

    def take(self, correlation: int, begin: Callable[[], None]) -> bool:
        """Whether the launch may begin now that its stream has come to it; ``begin`` is called once it may."""
        if self._line[0] == correlation:
            return True
        self._waiting[correlation] = begin
        return False

    def release(self, now: int) -> None:
        """The replay is done; the next one in line begins, if its stream has come to it."""
        self._line.popleft()
        self.free_at = now
        if self._line and (begin := self._waiting.pop(self._line[0], None)) is not None:
            begin()


class Meeting:
    """A collective in progress: it ends for all ``ns`` after the last rank has entered."""

    def __init__(self, clock: Clock, op: Collective, close: Callable[[], object]) -> None:
        self._clock = clock
        self._op = op
        self._close = close
        self._inside: list[Callable[[], None]] = []

    def enter(self, leave: Callable[[], None]) -> None:
        """A rank has entered; ``leave`` is called when all may go."""
        self._inside.append(leave)
        if len(self._inside) == self._op.ranks:
            self._close()
            self._clock.call_at(self._clock.now + self._op.ns, self._leave)

    def _leave(self, _event: Event) -> None:
        for leave in self._inside:
            leave()


class Device:
    """Streams of one rank. ``contended`` while more than one of them holds kernels that have not ended."""

    def __init__(
        self,
        clock: Clock,
        constants: Constants,
        recorder: Recorder,
        meetings: dict[Hashable, Meeting],
        rank: int = 0,
    ) -> None:
        self.clock = clock
        self.constants = constants
        self.recorder = recorder
        self.rank = rank
        self.sharing = Sharing(clock)
        self.engines = {"h2d": CopyEngine(clock), "d2h": CopyEngine(clock)}
        self.streams: dict[str, Stream] = {}
        self.launched: set[Hashable] = set()
        self._executables: dict[Hashable, Executable] = {}
        self._marks: dict[Hashable, Mark] = {}
        self._meetings = meetings
        self.live: list[Stream] = []
        self._last: Stream | None = None
        self._free_from = NEVER
        self._before: tuple[Stream | None, int] = (None, NEVER)
        self._blocked: dict[Stream, Mark] = {}
        self._draining: list[Mark] = []

    def stream(self, name: str) -> Stream:
        """The stream of this name, made on first use."""
        found = self.streams.get(name)
        if found is None:
            label = name if not self.rank else f"{name} (rank {self.rank})"
            track = self.recorder.track(label, Place.STREAM, self.rank)
            found = self.streams[name] = Stream(self, name, track)
        return found

    def executable(self, key: Hashable) -> Executable:
        """The executable graph of this identity."""
        return self._executables.setdefault(key, Executable())

    def record(self, event: Hashable) -> Mark:
        """A fresh mark for an event: waits enqueued from now on refer to it."""
        mark = self._marks[event] = Mark()
        return mark

    def mark(self, event: Hashable) -> Mark | None:
        """The latest record of an event; None when there is none yet, and waiting for it is no wait."""
        return self._marks.get(event)

    def meeting(self, op: Collective) -> Meeting:
        """The collective in progress under this key."""
        if op.key not in self._meetings:
            self._meetings[op.key] = Meeting(self.clock, op, partial(self._meetings.pop, op.key))
        return self._meetings[op.key]

    @property
    def contended(self) -> bool:
        """Whether starts have to be asked for."""
        return len(self.live) > 1 or bool(self.sharing.running)

    def enliven(self, stream: Stream) -> None:
        """A stream has got its first kernel."""
        self.live.append(stream)
        if len(self.live) > 1:
            for other in self.live:
                if other is not stream:
                    other.contend()

    def deaden(self, stream: Stream) -> None:
        """A stream's last kernel has ended."""
        self.live.remove(stream)

    def grant_alone(self, stream: Stream, ready: int, backlog: bool) -> int:
        """When a kernel starts while no other stream has any."""
        self._before = (self._last, self._free_from)
        start = ready if self._last is stream else self._start(stream, ready, backlog)
        self._last = stream
        self._free_from = start + self.constants.dispatch_interval
        return start

    def revoke(self, stream: Stream) -> None:
        """Take back a start that was granted and has not happened."""
        assert self._last is stream
        self._last, self._free_from = self._before

    def ask(self, stream: Stream, ready: int, backlog: bool) -> None:
        """Have a kernel started in its turn: turns are given in the order of readiness."""
        self.clock.call_at(ready, partial(self._turn, stream, backlog))

    def _turn(self, stream: Stream, backlog: bool, _event: Event) -> None:
        start = self._start(stream, self.clock.now, backlog)
        self._last, self._free_from = stream, start + self.constants.dispatch_interval
        self.clock.call_at(start, stream.granted)

    def _start(self, stream: Stream, ready: int, backlog: bool) -> int:
        switched = self._last is not None and self._last is not stream
        if not switched:
            return ready
        return max(ready + (self.constants.stream_switch if backlog else 0), self._free_from)

    def slot_started(self, stream: Stream) -> None:
        """A launch has left its stream's queue, at ``stream.start``: a host thread blocked on it goes on."""
        if self._blocked and stream in self._blocked:
            self._blocked.pop(stream).fire(stream.start)

    def when_started(self, stream: Stream, now: int) -> Mark:
        """A mark that fires with the first start of a launch of the stream after ``now``."""
        if now < stream.start < FOREVER:
            settled = Mark()
            settled.fire(stream.start)
            return settled
        return self._blocked.setdefault(stream, Mark())

    def stream_drained(self) -> None:
        """A stream has nothing left: whoever waits for the whole device may go."""
        if self._draining and self.idle_since() is not None:
            waiting, self._draining = self._draining, []
            time = self.idle_since()
            assert time is not None
            for mark in waiting:
                mark.fire(time)

    def idle_since(self) -> int | None:
        """When the last entry of all streams ended, None while there is any."""
        if any(not s.drained for s in self.streams.values()):
            return None
        return max((s.free_at for s in self.streams.values()), default=NEVER)

    def when_idle(self) -> Mark:
        """A mark that fires when all streams have drained."""
        mark = Mark()
        since = self.idle_since()
        if since is not None:
            mark.fire(since)
        else:
            self._draining.append(mark)
        return mark
