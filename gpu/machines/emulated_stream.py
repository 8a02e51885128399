"""A stream of an emulated device: a thread that works off its entries in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import NamedTuple

from gpu.machines.graph_plan import graph_plan, moments
from gpu.machines.turns import Multiprocessors, Turn
from gpu.machines.wall import pause
from sim.program.constants import Constants
from sim.program.ops import Copy, Graph, Kernel, Op, Record, Replay, WaitEvent
from sim.timeline.spans import Kind, Place, Recorder

SPIN_BELOW = 200_000  # ns: how early a worker wakes to spin; a sleep overruns by a tenth of a millisecond
Entry = tuple[Op, int, int, int, "Mark | None"]
"""An operation, when it was submitted (ns), its correlation, its step, and the mark it fires or waits for."""


class Slept(NamedTuple):
    """A kernel that was slept: how long it was meant to take, and how much later than due it ended (ns)."""

    ns: int
    late: int


class Mark:
    """One record of an event. ``due`` (ns) is when what it follows was due to end; it fires when that is done."""

    def __init__(self, failed: Event) -> None:
        self.due = 0
        self._failed = failed
        self._done = Event()

    @property
    def fired(self) -> bool:
        """Whether everything before the record is done."""
        return self._done.is_set()

    def fire(self, due: int) -> None:
        """Wake everybody who waits."""
        self.due = due
        self._done.set()

    def wait(self) -> None:
        """Sleep until it has fired, or until a stream has failed, which ``EmulatedDevice.close`` raises."""
        while not self._done.wait(timeout=0.1) and not self._failed.is_set():
            pass


class EmulatedStream:
    """Works off entries first in, first out, each for as long as it is meant to take.

    An entry is due to start when it was submitted plus its latency, or a gap after its predecessor's due end if that
    is later. The due times of a backlogged stream follow one another exactly, so that errors of sleeping show in
    single spans and never add up; spans are what the clock said.
    """

    def __init__(
        self,
        name: str,
        constants: Constants,
        multiprocessors: Multiprocessors,
        turn: Callable[[Copy | Replay], Turn],
        failed: Event,
    ) -> None:
        self._name = name
        self._constants = constants
        self._multiprocessors = multiprocessors
        self._turn = turn
        self._failed = failed
        self._failure: BaseException | None = None
        self._entries: SimpleQueue[Entry | None] = SimpleQueue()
        self._pushed = 0
        self._pushing = Lock()
        self._begun = 0
        self._free_at = 0
        self._floor = 0
        self._spans: list[tuple[int, int, Kind, str, int, int]] = []
        self.slept: list[Slept] = []
        self._thread = Thread(target=self._work, name=f"stream {name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Launches that have not started; events are none."""
        return self._pushed - self._begun

    def push(self, op: Op, submit: int, correlation: int, step: int, mark: Mark | None = None) -> None:
        """Enqueue an operation."""
        with self._pushing:
            if not isinstance(op, Record | WaitEvent):
                self._pushed += 1
            self._entries.put((op, submit, correlation, step, mark))

    def drained(self) -> Mark:
        """A mark behind everything enqueued so far."""
        mark = Mark(self._failed)
        self._entries.put((Record(None), 0, 0, -1, mark))
        return mark

    def finish(self) -> None:
        """Work off what is left and end the thread; raises what went wrong in it."""
        self._entries.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def record(self, recorder: Recorder, origin: int) -> None:
        """Add a track with what ran, relative to ``origin`` (ns)."""
        track = recorder.track(self._name, Place.STREAM)
        for start, end, kind, name, correlation, step in self._spans:
            recorder.span(track, start - origin, end - origin, kind, recorder.name(name), correlation, step)

    def _work(self) -> None:
        try:
            while (entry := self._entries.get()) is not None:
                self._do(*entry)
        except BaseException as failure:  # noqa: BLE001  raised by finish, in the host's thread
            self._failure = failure
            self._failed.set()

    def _do(self, op: Op, submit: int, correlation: int, step: int, mark: Mark | None) -> None:
        match op:
            case Record():
                assert mark is not None
                mark.fire(max(self._free_at, self._floor, submit))
            case WaitEvent():
                assert mark is not None
                mark.wait()
                self._floor = max(self._floor, mark.due)
            case Kernel():
                due = self._due(submit + self._constants.launch_latency)
                self._chain((op,), max(due, self._multiprocessors.take(op.sm)), correlation, step)
                self._multiprocessors.give(op.sm, self._free_at)
            case Replay():
                self._replay(op, submit, correlation, step)
            case Copy():
                turn = self._turn(op)
                with turn.lock:
                    due = max(self._due(submit + self._constants.copy_latency), turn.free_at)
                    start = self._begin(due)
                    self._free_at = turn.free_at = due + op.ns
                    self._span(start, self._until(self._free_at), Kind.MEMCPY, op.name, correlation, step)
            case _:
                raise TypeError(f"{op!r} is no operation of a stream")

    def _due(self, submitted: int) -> int:
        """When the next entry is due to start, its predecessors and its own submission considered."""
        return max(submitted, self._free_at + self._constants.stream_gap, self._floor + self._constants.stream_gap)

    def _replay(self, op: Replay, submit: int, correlation: int, step: int) -> None:
        constants = self._constants
        nodes = len(op.graph.kernels)
        latency = constants.graph_launch_latency + constants.graph_launch_latency_per_1000_nodes * nodes // 1000
        share = max(kernel.sm for kernel in op.graph.kernels)
        turn = self._turn(op)
        with turn.lock:
            due = max(self._due(submit + latency), turn.free_at, self._multiprocessors.take(share))
            if op.graph.after is None:
                self._chain(op.graph.plain, due, correlation, step)
            else:
                self._branches(op.graph, due, correlation, step)
            turn.free_at = self._free_at
            self._multiprocessors.give(share, self._free_at)

    def _chain(self, kernels: tuple[Kernel, ...], due: int, correlation: int, step: int) -> None:
        """Run kernels one after the other, the first when it is due (ns)."""
        gap = self._constants.graph_gap
        self._begin(due)
        for kernel in kernels:
            start = self._until(due)
            self._free_at = due + kernel.ns
            self._kernel(kernel, start, self._until(self._free_at), self._free_at, correlation, step)
            due = self._free_at + gap

    def _branches(self, graph: Graph, due: int, correlation: int, step: int) -> None:
        """Run kernels side by side where their graph allows it."""
        self._begin(due)
        kernels = graph.plain
        starts = [0] * len(kernels)
        for moment, begins, position in moments(graph_plan(graph, self._constants)):
            self._free_at = due + moment
            now = self._until(self._free_at)
            if begins:
                starts[position] = now
            else:
                self._kernel(kernels[position], starts[position], now, self._free_at, correlation, step)

    def _begin(self, due: int) -> int:
        """Start a launch when it is due: it leaves the queue."""
        now = self._until(due)
        self._begun += 1
        return now

    def _until(self, due: int) -> int:
        """What the clock says when the time has come."""
        pause(due, SPIN_BELOW)
        return time.perf_counter_ns()

    def _kernel(self, kernel: Kernel, start: int, end: int, due: int, correlation: int, step: int) -> None:
        self._span(start, end, Kind.KERNEL, kernel.name, correlation, step)
        self.slept.append(Slept(kernel.ns, end - due))

    def _span(self, start: int, end: int, kind: Kind, name: str, correlation: int, step: int) -> None:
        self._spans.append((start, end, kind, name, correlation, step))
