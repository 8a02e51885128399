"""Many runs at once that differ in durations alone: one loop, whose times are columns with a number for each run."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.effects import Arrivals, Emit, Host, Launch, Loop, Phase, Receive, Source, Step, Wait
from sim.fast.blocks import Blocks
from sim.fast.caller import Caller
from sim.fast.device import Blind, Stream
from sim.fast.launch_queue import NEVER, LaunchQueue
from sim.fast.linked import Linked
from sim.fast.plan import Planner
from sim.fast.refusal import OutsideError
from sim.fast.segments import Train
from sim.fast.spans import SpanWriter
from sim.program.array_namespace import namespace
from sim.program.calls import ManyHosts
from sim.program.frame import Frame
from sim.serving.batch import Batch, StepResult
from sim.timeline.spans import Column, Place, Recorder

Tariff = Callable[[Phase], tuple[Frame, Sequence[Any], frozenset[int]]]
"""A phase's frame, what its operations take (ns), numbers or columns of one for each run, and which of them change."""


class _Queue(LaunchQueue):
    """A launch queue that must not fill: ``started`` of its launches are known to have started in every run."""

    __slots__ = ("known",)

    def __init__(self, depth: int) -> None:
        super().__init__(depth)
        self.known = 0

    def add(self, start: int) -> None:
        del start
        self.count += 1

    def add_train(self, launches: int, last: int, starts: object) -> None:
        del last, starts
        self.count += launches

    def opens(self, now: int) -> int:
        self.can_fill(now, 0)
        return NEVER

    def can_fill(self, now: int, launches: int) -> bool:
        del now
        if self.count + launches - self.known > self.depth:
            raise OutsideError("a launch queue that may fill")
        return False


def _later(one: Any, other: Any) -> Any:
    """The later of two times, each a number or a column; no column has a time before 0."""
    if isinstance(one, int):
        one, other = other, one
    if not isinstance(other, int):
        return namespace(one).maximum(one, other)
    if isinstance(one, int):
        return max(one, other)
    return namespace(one).clip(one, other, None) if other > 0 else one


class _Device(Blind):
    """A device whose times are columns."""

    later = staticmethod(_later)

    def stream(self, name: str) -> Stream:
        known = name in self.streams
        stream = super().stream(name)
        if not known:
            stream.launches = _Queue(self.constants.queue_depth)
        return stream

    def _switched(self, stream: Stream, ready: int, *, backlog: bool) -> int:
        del backlog
        if self.last is not None:
            raise OutsideError(f"kernels that alternate between streams {self.last.name!r} and {stream.name!r}")
        self.last = stream
        return ready


class _Caller(Caller):
    """A host thread whose clock is a column."""

    __slots__ = ()

    def passed(self, ns: Any) -> None:
        self.now = self.now + ns


@dataclass
class Passed:
    """Decode steps that reached the clients: their numbers, rows and tokens, and when (ns), a column of runs each."""

    times: list[Any]
    steps: Column
    rows: Column
    tokens: Column


class Replicas:
    """A machine for runs that take the same decisions, whatever time it is: closed batches without draws.

    Times are columns with a number for each run, of the array library that the host's ``scale`` belongs to: NumPy's
    arrays and PyTorch's tensors, on whatever device, go the same way. Raises ``OutsideError`` where a time decides
    what comes next, or a launch queue may fill: then each run has to be simulated by itself. Everything else is the
    fast machine's model, by the same calls on the same streams.
    """

    def __init__(self, costs: ManyHosts, tariff: Tariff, warm: Iterable[Hashable] = ()) -> None:
        recorder = Recorder()
        device = _Device(costs.constants, recorder, warm)
        spans = SpanWriter(recorder, recorder.track("host", Place.HOST_THREAD), kept=False)
        self._caller = _Caller(costs, device, spans, None)
        self._caller.now = 0 * costs.extra
        self._costs = costs
        self._tariff = tariff
        self._planner = Planner(costs, recorder)
        self._blocks: dict[Train, Blocks] = {}
        self._launched: dict[int, list[tuple[Stream, int, Any]]] = {}
        self._times: list[Any] = []
        self._emitted: list[tuple[int, int, int]] = []

    def run(self, loop: Loop[Any], source: Source) -> Passed:
        """Run the loop to its end."""
        answer: Any = None
        while True:
            try:
                effect = loop.send(answer)
            except StopIteration:
                emitted = np.array(self._emitted, dtype=np.int64).reshape(-1, 3)
                return Passed(self._times, *emitted.T)
            match effect:
                case Receive():
                    answer = self._receive(source)
                case Host():
                    answer = self._work(effect)
                case Launch(work=Phase() as phase):
                    answer = self._launch(phase)
                case Wait(on=Step() as step):
                    answer = self._wait(step, source, blocking=effect.how == "blocking")
                case Emit(outputs=outputs):
                    self._emitted.append((outputs.batch.index, outputs.batch.rows, outputs.tokens))
                    self._times.append(self._caller.now)
                case _:
                    raise OutsideError(f"a loop that asks for {effect.__class__.__name__}")

    def _receive(self, source: Source) -> Arrivals:
        if (source.next_arrival() or 0) > 0:
            raise OutsideError("requests that arrive")
        self._caller.now = self._caller.now + self._costs.work_ns("receive", len(requests := source.take(0)), 0)
        return Arrivals(0, requests, closed=source.closed)

    def _work(self, effect: Host) -> Any:
        result = effect.work()
        batch = effect.batch if effect.batch is not None else result if isinstance(result, Batch) else None
        size = (batch.rows, batch.tokens, len(batch.prompts)) if batch is not None else (0, 0, 0)
        self._caller.now = self._caller.now + self._costs.work_ns(effect.name, *size)
        return result

    def _launch(self, phase: Phase) -> Step:
        if phase.sync_each:
            raise OutsideError("waits after every operation")
        caller = self._caller
        frame, ns, change = self._tariff(phase)
        plan, filled = self._planner.of_frame(frame), Linked(ns, change, _later, self._blocks)
        step = Step(phase.batch.index, phase.batch)
        for name, segments in plan:
            stream = caller.device.stream(name)
            for segment in segments:
                segment.make(caller, stream, filled, step)
        self._launched[id(step)] = [
            (stream, stream.launches.count, stream.free_at) for stream in caller.device.streams.values()
        ]
        return step

    def _wait(self, step: Step, source: Source, *, blocking: bool) -> StepResult:
        caller, constants = self._caller, self._costs.constants
        if step.mark is None or step.batch is None:
            raise OutsideError("waits for a step without an event")
        start = caller.now
        now = start + self._costs.scaled(constants.event_sync_call)
        woken = step.mark + constants.wake(device=False, blocking=blocking)
        caller.now = namespace(now).where(step.mark > start, _later(now, woken), now)
        for stream, count, free_at in self._launched.pop(id(step)):
            if bool((free_at <= caller.now).all()):
                queue = stream.launches
                assert isinstance(queue, _Queue)
                queue.known = max(queue.known, count)
        return StepResult(0, source.stopped(step.batch))
