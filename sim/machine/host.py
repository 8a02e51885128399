"""A host thread: runs a loop and charges for what it does."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from simpy import Event

from sim.effects import DEVICE, Arrivals, Emit, Get, Host, Launch, Loop, Phase, Put, Ready, Receive, Step, Wait
from sim.machine.clock import NEVER
from sim.machine.events import Mark
from sim.machine.gil import Gil
from sim.program.calls import Call
from sim.program.jitter import median
from sim.program.ops import STEP, Copy, Kernel, Op, Record, Replay, Think, WaitEvent
from sim.serving.batch import Batch, StepResult
from sim.timeline.spans import Kind, Place

if TYPE_CHECKING:
    from sim.machine.device import Device
    from sim.machine.machine import Machine
    from sim.machine.stream import Stream

Process = Generator[Event, Any, Any]


class HostThread:
    """Interprets the effects of one loop, in virtual time.

    A train of launches is enqueued ahead of the clock, each with the time its call returns, and the clock follows
    once at the end: nothing that the device does can change those times unless a queue is full, and then the thread
    does wait. Threads that share an interpreter lock go call by call instead.
    """

    def __init__(
        self, machine: Machine, name: str, device: Device, draw: Callable[[int], int], gil: Gil | None, call_extra: int
    ) -> None:
        self.machine = machine
        self.device = device
        self.track = machine.recorder.track(name, Place.HOST_THREAD, device.rank)
        self._draw = draw
        self._gil = gil
        self._call_extra = call_extra
        self._depth = machine.costs.constants.queue_depth
        self._plain = gil is None and draw is median

    def run(self, loop: Loop[Any]) -> Process:
        """The thread as a SimPy process: its value is what the loop returns."""
        if self._gil is not None:
            yield from self._gil.acquire()
        answer: Any = None
        while True:
            try:
                effect = loop.send(answer)
            except StopIteration as stop:
                if self._gil is not None:
                    self._gil.release()
                return stop.value
            answer = yield from self._interpret(effect)

    def _interpret(self, effect: object) -> Process:
        match effect:
            case Launch():
                return (yield from self._launch(effect))
            case Host():
                return (yield from self._work(effect))
            case Wait():
                return (yield from self._wait(effect))
            case Receive():
                return (yield from self._receive(block=effect.block))
            case Emit():
                self.machine.emit(effect.outputs)
                return None
            case Put():
                self.machine.queue(effect.queue).put(effect.item)
                return None
            case Get():
                return (yield from self._outside(self._take(effect.queue)))
            case Ready():
                return (yield from self._ready(effect.on))
            case _:
                raise TypeError(f"a loop yielded {effect!r}, which is no effect")

    @property
    def _now(self) -> int:
        return self.machine.clock.now

    def _span(
        self, start: int, kind: Kind, name: str, correlation: int = 0, step: int = -1, end: int | None = None
    ) -> None:
        recorder = self.machine.recorder
        end = self._now if end is None else end
        recorder.span(self.track, start, end, kind, recorder.name(name), correlation, step)

    def _spend(self, held: int, free: int = 0) -> Process:
        """Pass time on this thread, the first part under the interpreter lock."""
        if self._gil is None:
            if held + free:
                yield self.machine.clock.timeout(held + free)
            return
        yield from self._gil.hold(held)
        if free:
            yield from self._outside(self._until(self._now + free))

    def _outside(self, waiting: Process) -> Process:
        """Wait without the interpreter lock."""
        if self._gil is None:
            return (yield from waiting)
        self._gil.release()
        value = yield from waiting
        yield from self._gil.acquire()
        return value

    def _take(self, queue: str) -> Process:
        item = yield self.machine.queue(queue).get()
        return item

    def _until(self, time: int) -> Process:
        if time > self._now:
            yield self.machine.clock.timeout(time - self._now)

    def _settled(self, mark: Mark) -> Process:
        """When the mark fires; waits until that is known, not until it happens."""
        if mark.time is None:
            event = self.machine.clock.event()
            mark.subscribe(partial(_wake, event))
            yield event
        assert mark.time is not None
        return mark.time

    def _work(self, effect: Host) -> Process:
        start = self._now
        result = effect.work()
        batch = effect.batch if effect.batch is not None else result if isinstance(result, Batch) else None
        size = (batch.rows, batch.tokens, len(batch.prompts)) if batch is not None else (0, 0, 0)
        yield from self._spend(self._draw(self.machine.costs.work_ns(effect.name, *size)))
        self._span(start, Kind.HOST, effect.name, step=-1 if batch is None else batch.index)
        if batch is result is not None:
            self.machine.recorder.scheduled(batch, self._now)
        return result

    def _receive(self, *, block: bool) -> Process:
        source = self.machine.source
        start = self._now
        if block and not self._comes(start):
            yield from self._outside(self._coming())
            self._span(start, Kind.NO_WORK, "no work")
            start = self._now
        requests = source.take(start)
        yield from self._spend(self._draw(self.machine.costs.work_ns("receive", len(requests), 0)))
        self._span(start, Kind.HOST, "receive")
        return Arrivals(start, requests, closed=source.closed)

    def _comes(self, now: int) -> bool:
        """Whether a request has come by now, or none will ever."""
        arrival = self.machine.source.next_arrival()
        return self.machine.source.closed if arrival is None else arrival <= now

    def _coming(self) -> Process:
        """Wait for the next arrival, which a client may send while we wait, in answer to another thread's outputs."""
        while not self._comes(self._now):
            arrival = self.machine.source.next_arrival()
            if arrival is None:
                yield self.machine.reaction()
            elif self.machine.alone:
                yield from self._until(arrival)
            else:
                yield self.machine.clock.timeout(arrival - self._now) | self.machine.reaction()

    def _launch(self, effect: Launch) -> Process:
        step = self.machine.new_step(effect.work.batch if isinstance(effect.work, Phase) else None)
        if isinstance(effect.work, Phase):
            pieces = self.machine.lower(effect.work)
            sync_each = effect.work.sync_each
        else:
            pieces, sync_each = [(effect.stream, effect.work)], False
        now = self._now
        plain = self._plain and not sync_each
        for stream_name, ops in pieces:
            stream = self.device.stream(stream_name)
            train = self._train(ops, stream) if plain else []
            if train:
                calls = [self.machine.costs.call(kernel) for kernel in train]
                now = stream.push_train(train, now, calls, self.track, step.index)
            for op in ops[len(train) :]:
                start = now
                call = self.machine.costs.call(op)
                held, api = self._cost(op, call)
                if self._gil is None:
                    now += held + api
                else:
                    yield from self._gil.hold(held)
                    if op.__class__ is not Think:
                        self._gil.release()
                        yield from self._until(self._now + api)
                    now = self._now
                if op.__class__ is Think:
                    self._span(start, Kind.HOST, call.name, step=step.index, end=now)
                    continue
                correlation = self.machine.recorder.correlate()
                entry = stream.push(op, now, correlation, step.index, self._mark(op, step))
                copied = stream.after_copy() if op.__class__ is Copy and not op.pinned else None
                while entry - stream.started(now) > self._depth:
                    now = max(now, (yield from self._settled(self.device.when_started(stream, now))))
                    if self._gil is not None:  # another thread's launches can still move that start
                        yield from self._until(now)
                if copied is not None:
                    end = yield from self._settled(copied)
                    now = end + self.machine.costs.constants.wake_spin if end > now else now
                self._span(start, Kind.CALL, call.name, correlation, step.index, now)
                if self._gil is not None:
                    yield from self._until(now)
                    yield from self._gil.acquire()
                    now = self._now
                if sync_each and op.__class__ is not Record:
                    yield from self._until(now)
                    mark = self.device.when_idle()
                    yield from self._outside(self._synchronize(mark, device=True, blocking=False, step=step.index))
                    now = self._now
        yield from self._until(now)
        return step

    def _train(self, ops: Sequence[Op], stream: Stream) -> list[Kernel]:
        """The first operations as far as they are kernels and the stream's queue has room for them."""
        room = self._depth - stream.slots - 1
        train: list[Kernel] = []
        for op in ops:
            if op.__class__ is not Kernel or len(train) >= room:
                break
            train.append(op)
        return train

    def _cost(self, op: Op, call: Call) -> tuple[int, int]:
        """Nanoseconds of a call under the interpreter lock, and without it."""
        api = call.api + self._call_extra if call.api else 0
        if op.__class__ is Replay and op.executable not in self.device.launched:
            self.device.launched.add(op.executable)
            api += self.machine.costs.first_replay(op)
        return self._draw(call.held), self._draw(api)

    def _mark(self, op: Op, step: Step) -> Mark | None:
        if op.__class__ is Kernel:
            return None
        if isinstance(op, Record):
            return self.device.record(step if op.event is STEP else op.event)
        return self.device.mark(step if op.event is STEP else op.event) if isinstance(op, WaitEvent) else None

    def _recorded(self, on: Step | Hashable) -> Mark:
        """The latest record of an event; one that nobody has recorded is as good as fired, as in CUDA."""
        mark = self.device.mark(on)
        if mark is None:
            if isinstance(on, Step):
                raise ValueError(f"step {on.index} has recorded no event, so it cannot be waited for")
            mark = Mark()
            mark.fire(NEVER)
        return mark

    def _wait(self, effect: Wait) -> Process:
        whole = effect.on == DEVICE
        mark = self.device.when_idle() if whole else self._recorded(effect.on)
        step = effect.on if isinstance(effect.on, Step) else None
        index = -1 if step is None else step.index
        blocking = effect.how == "blocking"
        yield from self._outside(self._synchronize(mark, device=whole, blocking=blocking, step=index))
        stopped: tuple[int, ...] = ()
        if step is not None and step.batch is not None:
            stopped = self.machine.source.stopped(step.batch)
        return StepResult(self._now, stopped)

    def _synchronize(self, mark: Mark, *, device: bool, blocking: bool, step: int) -> Process:
        constants = self.machine.costs.constants
        start = self._now
        least = start + self.machine.costs.scaled(constants.device_sync_call if device else constants.event_sync_call)
        fired = yield from self._settled(mark)
        late = fired + constants.wake(device=device, blocking=blocking) if fired > start else NEVER
        yield from self._until(max(least, late))
        self._span(start, Kind.WAIT, "cudaDeviceSynchronize" if device else "cudaEventSynchronize", step=step)

    def _ready(self, on: Step | Hashable) -> Process:
        start = self._now
        yield from self._spend(0, self._draw(self.machine.costs.scaled(self.machine.costs.constants.event_query_call)))
        self._span(start, Kind.CALL, "cudaEventQuery")
        yield self.machine.clock.timeout(0)  # a query that costs nothing, too, comes after what the device does now
        time = self._recorded(on).time
        return time is not None and time <= self._now


def _wake(event: Event, time: int) -> None:
    event.succeed(time)
