"""A stream: a queue of entries that the device works off in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sim.machine.clock import FOREVER, NEVER
from sim.machine.events import Mark
from sim.machine.graph_run import GraphRun
from sim.machine.sharing import Execution
from sim.program.ops import Collective, Copy, Kernel, Op, Record, Replay, WaitEvent
from sim.timeline.spans import Kind

if TYPE_CHECKING:
    from simpy import Event

    from sim.machine.device import Device
    from sim.program.calls import Call

KERNEL, CALL = int(Kind.KERNEL), int(Kind.CALL)  # struct packs a plain int faster than an IntEnum
Entry = tuple[Op, int, int, int, Mark | None]


class Stream:
    """First in, first out. A kernel starts when its predecessor is done, its events have fired and it was submitted.

    While no other stream of the device holds kernels, a kernel's start and end are settled as soon as it reaches the
    head, at the price of one event a kernel; otherwise it asks the device's front end when it is ready to start.
    ``free_at`` is the end of the last finished entry. Launches, the entries that take a slot of the launch queue, are
    counted as they are enqueued (``launches``) and as they come to the head (``reached``); ``start`` is the start of
    the one that came to the head last, ``FOREVER`` until that is settled.
    """

    __slots__ = (
        "_correlation", "_end", "_floor", "_kernel", "_planned_from", "_replayed", "_step", "_submit", "_version",
        "busy", "device", "free_at", "graph", "launches", "name", "queue", "reached", "start", "track", "work",
    )  # fmt: skip

    def __init__(self, device: Device, name: str, track: int) -> None:
        self.device = device
        self.name = name
        self.track = track
        self.queue: deque[Entry] = deque()
        self.busy = False
        self.free_at = NEVER
        self.start = NEVER
        self.launches = 0
        self.reached = 0
        self.work = 0
        self.graph: GraphRun | None = None
        self._floor = NEVER
        self._replayed = False
        self._version = 0
        self._kernel: Kernel | None = None
        self._planned_from: tuple[int, bool] | None = None
        self._end = NEVER
        self._submit = self._correlation = self._step = 0

    def push(self, op: Op, submit: int, correlation: int, step: int, mark: Mark | None = None) -> int:
        """Enqueue an operation whose call returns at ``submit``, which may lie ahead of the clock.

        Returns the number of the launch, counted from 1, and 0 for an operation that takes no slot.
        """
        launch = 0
        if isinstance(op, Kernel | Replay | Collective | Copy):
            self.launches = launch = self.launches + 1
            if not isinstance(op, Copy):
                self.work += 1
                if self.work == 1:
                    self.device.enliven(self)
            if isinstance(op, Replay):
                self.device.executable(op.executable).launched(correlation)
        self.queue.append((op, submit, correlation, step, mark))
        if not self.busy:
            self.advance()
        return launch

    def push_train(self, kernels: Sequence[Kernel], now: int, calls: Sequence[Call], track: int, step: int) -> int:
        """Enqueue kernels one call after the other from ``now`` on; returns when the last call returns.

        What ``push`` and a span of each call would do, in one loop; the queue must have room for all of them.
        """
        recorder, queue = self.device.recorder, self.queue
        correlation = recorder.correlate(len(kernels))
        add, name = recorder.span, recorder.name(calls[0].name)
        for kernel, call in zip(kernels, calls, strict=True):
            start = now
            now += call.ns
            add(track, start, now, CALL, name, correlation, step)
            queue.append((kernel, now, correlation, step, None))
            correlation += 1
        self.launches += len(kernels)
        self.work += len(kernels)
        if self.work == len(kernels):
            self.device.enliven(self)
        if not self.busy:
            self.advance()
        return now

    @property
    def slots(self) -> int:
        """Launches that have not come to the head."""
        return self.launches - self.reached

    def started(self, now: int) -> int:
        """Launches that are known to start by ``now``."""
        return self.reached - (self.start > now)

    @property
    def drained(self) -> bool:
        """Nothing queued and nothing running."""
        return not (self.busy or self.queue)

    def after_copy(self) -> Mark:
        """A mark for the end of the copy that was enqueued last, for the thread that waits for it."""
        mark = Mark()
        self.push(Record(None), 0, 0, -1, mark)
        return mark

    def advance(self) -> None:
        """Work off the head of the queue until something has to be waited for."""
        constants = self.device.constants
        queue = self.queue
        self.busy = True
        while queue:
            op, submit, correlation, step, mark = queue.popleft()
            if op.__class__ is Kernel:
                self._correlation = correlation
                self._step = step
                self._kernel = op
                self._replayed = False
                self.reached += 1
                self._request(submit + constants.launch_latency, constants.stream_gap)
                return
            if isinstance(op, Record):
                assert mark is not None
                fired = max(self.free_at, self._floor, submit)
                if op.timed:
                    fired += constants.timed_event
                    self.free_at = fired
                mark.fire(fired)
            elif isinstance(op, WaitEvent):
                if mark is None:
                    continue
                if mark.time is None:
                    mark.subscribe(self._event_fired)
                    return
                self._floor = max(self._floor, mark.time)
            else:
                self._submit, self._correlation, self._step = submit, correlation, step
                self.reached += 1
                self.start = FOREVER
                if isinstance(op, Replay):
                    self._replay(op)
                elif isinstance(op, Copy):
                    self._copy(op)
                elif isinstance(op, Collective):
                    self._collect(op)
                return
        self.busy = False
        self.device.stream_drained()

    def _event_fired(self, time: int) -> None:
        self._floor = max(self._floor, time)
        self.advance()

    def _request(self, submitted: int, gap: int) -> None:
        """The head is a kernel, or a graph's first: settle its start, or ask for it."""
        device = self.device
        in_order = max(self.free_at, self._floor) + gap
        backlog = in_order >= submitted  # the device had it in time, rather than too late
        ready = in_order if backlog else submitted
        if device.contended or (self.graph is not None and self.graph.forks):
            self.start = FOREVER
            device.ask(self, ready, backlog)
            return
        assert self._kernel is not None
        self._planned_from = (ready, backlog)
        self.start = start = device.grant_alone(self, ready, backlog)
        self._end = end = start + self._kernel.ns
        self._version = version = self._version + 1
        device.slot_started(self)
        device.clock.call_at(end, self._planned_end, version)

    def _planned_end(self, event: Event) -> None:
        if event.value == self._version:
            self._planned_from = None
            self.kernel_ended()

    def contend(self) -> None:
        """Another stream has kernels now: hand a settled kernel over to the front end or to the sharing."""
        if self.graph is not None:
            self.graph.contend()
        if self._planned_from is None:
            return
        (ready, backlog), self._planned_from = self._planned_from, None
        self._version += 1
        now = self.device.clock.now
        if ready > now:
            self.device.revoke(self)
            self.start = FOREVER
            self.device.ask(self, ready, backlog)
        elif self.start > now:  # its turn has come, and the front end is switching to it
            self.device.clock.call_at(self.start, self.granted)
        else:
            self._share(self._end - now)

    def granted(self, _event: Event) -> None:
        """The front end dispatches the kernel now; it starts as soon as multiprocessors are free."""
        assert self._kernel is not None
        running = Execution(self._kernel.ns, self._kernel.sm, self._shared_end, on_begin=self._begun)
        self.device.sharing.add(running)

    def _begun(self) -> None:
        self.start = self.device.clock.now
        self.device.slot_started(self)
        if self.graph is not None:
            self.graph.started()

    def _share(self, left: int) -> None:
        """A kernel that runs already goes on beside others."""
        assert self._kernel is not None
        self.device.sharing.add(Execution(left, self._kernel.sm, self._shared_end, began=self.start))

    def _shared_end(self, execution: Execution) -> None:
        del execution
        self._end = self.device.clock.now
        self.kernel_ended()

    def kernel_ended(self) -> None:
        """A kernel of the stream, or the first of a graph, is done at ``_end``."""
        assert self._kernel is not None
        recorder = self.device.recorder
        name = recorder.name(self._kernel.name)
        recorder.span(self.track, self.start, self._end, KERNEL, name, self._correlation, self._step)
        if self.graph is not None:
            self.graph.kernel_ended(0)
        else:
            self.entry_ended(self._end)

    def entry_ended(self, now: int) -> None:
        """The head is done now."""
        self.free_at = now
        self.work -= 1
        if not self.work:
            self.device.deaden(self)
        self.advance()

    def _replay(self, op: Replay) -> None:
        executable = self.device.executable(op.executable)
        if not executable.take(self._correlation, partial(self._replay, op)):
            return
        constants = self.device.constants
        nodes = len(op.graph.kernels)
        latency = constants.graph_launch_latency + constants.graph_launch_latency_per_1000_nodes * nodes // 1000
        self.graph = GraphRun(self, op.graph, executable, self._correlation, self._step)
        self._kernel = op.graph.first
        gap = constants.replay_gap if self._replayed else constants.stream_gap
        self._replayed = True
        self._request(max(self._submit + latency, executable.free_at), gap)

    def _apart(self, latency: int, begin: Callable[[Event], None]) -> None:
        """The head is no kernel for the front end: begin when it was submitted and its stream has come to it."""
        in_order = max(self.free_at, self._floor) + self.device.constants.stream_gap
        self._replayed = False
        self.device.clock.call_at(max(in_order, self._submit + latency), begin)

    def _copy(self, op: Copy) -> None:
        self._apart(self.device.constants.copy_latency, partial(self._on_engine, op))

    def _on_engine(self, op: Copy, _event: Event) -> None:
        self.start = self.device.engines[op.direction].take(op.ns)
        self.device.slot_started(self)
        self.device.clock.call_at(self.start + op.ns, partial(self._copied, op))

    def _copied(self, op: Copy, _event: Event) -> None:
        recorder = self.device.recorder
        recorder.span(
            self.track,
            self.start,
            self.device.clock.now,
            Kind.MEMCPY,
            recorder.name(op.name),
            self._correlation,
            self._step,
        )
        self.free_at = self.device.clock.now
        self.advance()

    def _collect(self, op: Collective) -> None:
        self._apart(self.device.constants.launch_latency, partial(self._enter, op))

    def _enter(self, op: Collective, _event: Event) -> None:
        self.start = self.device.clock.now
        self.device.slot_started(self)
        spin = Execution(None, op.sm)
        self.device.sharing.add(spin)
        self.device.meeting(op).enter(partial(self._leave, op, spin))

    def _leave(self, op: Collective, spin: Execution) -> None:
        recorder = self.device.recorder
        self.device.sharing.end(spin)
        name = recorder.name(op.name)
        recorder.span(self.track, self.start, self.device.clock.now, Kind.KERNEL, name, self._correlation, self._step)
        self.entry_ended(self.device.clock.now)
