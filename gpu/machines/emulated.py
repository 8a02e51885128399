"""A device that only takes time: worker threads that sleep for as long as kernels would run. Without torch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Sequence
from itertools import count
from threading import Event, Lock

from gpu.machines.emulated_stream import EmulatedStream, Mark, Slept
from gpu.machines.turns import Multiprocessors, Turn
from gpu.machines.wall import Call, pause
from sim.effects import DEVICE, How, Phase, Step
from sim.program.calls import HostCosts
from sim.program.lowering import Lowering, no_lowering
from sim.program.ops import STEP, Collective, Copy, Op, Record, Replay, Think, WaitEvent
from sim.timeline.spans import Kind, Recorder

POLL = 20e-6  # seconds from one look at a full launch queue to the next
SWITCH = 5e-6  # seconds: host and streams are threads of one interpreter, which by itself switches every 5 ms


class EmulatedDevice:
    """Executes what the simulator simulates, in wall-clock time.

    Launching an operation takes the host as long as ``costs`` say. A stream is a thread that works off its entries in
    order, and starts them after the profile's latencies and gaps. Copies of one direction take turns, so do replays
    of one executable. Kernels run side by side as far as the multiprocessors reach; one that finds too few of them
    free waits for all it needs, and a graph holds what its widest kernel needs until it ends. The first replay of a
    graph costs no more than the others, the front end's turns between streams are left out, and a collective has
    nobody to meet: one is refused. Whoever waits sleeps, however the program asks for it: a thread that spun would hold
    the interpreter lock against the streams.
    """

    def __init__(self, costs: HostCosts, lower: Lowering = no_lowering) -> None:
        self._costs = costs
        self._lower = lower
        self._streams: dict[str, EmulatedStream] = {}
        self._marks: dict[Hashable, Mark] = {}
        self._correlation: Callable[[], int] = count(1).__next__
        self._multiprocessors = Multiprocessors()
        self._turns: dict[Hashable, Turn] = {}
        self._making = Lock()
        self._failed = Event()
        self.slept: list[Slept] = []
        """Every kernel that has run, filled in by ``close``."""
        self._switch = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)

    def launch(self, work: Phase | Sequence[Op], stream: str, step: Step) -> list[Call]:
        """Enqueue operations one by one; each call takes its time, and more when the stream's queue is full."""
        pieces = self._lower(work) if isinstance(work, Phase) else [(stream, work)]
        sync_each = isinstance(work, Phase) and work.sync_each
        calls: list[Call] = []
        due = now = time.perf_counter_ns()
        for name, ops in pieces:
            target = self._stream(name)
            for op in ops:
                start, call = now, self._costs.call(op)
                due += call.ns  # rather than now: what a call overran by, the next one makes up for
                pause(due)
                if isinstance(op, Think):
                    now = time.perf_counter_ns()
                    calls.append(Call(call.name, start, now, 0, Kind.HOST))
                    continue
                correlation = self._correlation()
                blocked = self._enqueue(target, op, correlation, step)
                now = time.perf_counter_ns()
                calls.append(Call(call.name, start, now, correlation))
                if sync_each and not isinstance(op, Record):
                    blocked, start = True, now
                    self.synchronize(DEVICE, "spin")
                    now = time.perf_counter_ns()
                    calls.append(Call("cudaDeviceSynchronize", start, now, 0, Kind.WAIT))
                if blocked:
                    due = now
        return calls

    def _enqueue(self, stream: EmulatedStream, op: Op, correlation: int, step: Step) -> bool:
        """Hand an operation to its stream; whether that blocked."""
        submit = time.perf_counter_ns()
        mark: Mark | None = None
        if isinstance(op, Record):
            mark = self._marks[step if op.event is STEP else op.event] = Mark(self._failed)
        elif isinstance(op, WaitEvent):
            mark = self._marks.get(step if op.event is STEP else op.event)
            if mark is None:
                return False  # nobody has recorded it: as good as fired, as in CUDA
        elif isinstance(op, Collective):
            raise TypeError("an emulated device is alone: there is nobody to meet in a collective")
        stream.push(op, submit, correlation, step.index, mark)
        blocked = stream.waiting > self._costs.constants.queue_depth
        while stream.waiting > self._costs.constants.queue_depth and not self._failed.is_set():
            time.sleep(POLL)
        if isinstance(op, Copy) and not op.pinned:
            stream.drained().wait()
            blocked = True
        return blocked

    def synchronize(self, on: Step | Hashable, how: How) -> None:
        """Sleep until a step, an event or everything that was launched is done."""
        del how
        if on == DEVICE:
            marks = [stream.drained() for stream in list(self._streams.values())]
        else:
            marks = [mark] if (mark := self._recorded(on)) is not None else []
        for mark in marks:
            mark.wait()

    def ready(self, on: Step | Hashable) -> bool:
        """Whether a step or an event is done."""
        mark = self._recorded(on)
        return mark is None or mark.fired

    def _recorded(self, on: Step | Hashable) -> Mark | None:
        mark = self._marks.get(on)
        if mark is None and isinstance(on, Step):
            raise ValueError(f"step {on.index} has recorded no event, so it cannot be waited for")
        return mark

    def _stream(self, name: str) -> EmulatedStream:
        with self._making:
            if name not in self._streams:
                self._streams[name] = EmulatedStream(
                    name, self._costs.constants, self._multiprocessors, self._turn, self._failed
                )
            return self._streams[name]

    def _turn(self, op: Copy | Replay) -> Turn:
        """The copy engine or the executable graph that an operation needs for itself."""
        with self._making:
            return self._turns.setdefault(op.direction if isinstance(op, Copy) else op.executable, Turn())

    def close(self, recorder: Recorder, origin: int) -> None:
        """Let the streams finish, and record what they did; raises what went wrong in one of them."""
        try:
            for stream in self._streams.values():
                stream.finish()
        finally:
            sys.setswitchinterval(self._switch)
        for stream in self._streams.values():
            stream.record(recorder, origin)
            self.slept += stream.slept
