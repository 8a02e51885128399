"""Host threads in wall-clock time: the simulator's loops, on real threads over a real or an emulated device."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from select import select
from threading import Thread
from typing import Any, NamedTuple, Protocol

from sim.effects import (
    DEVICE,
    Arrivals,
    Emit,
    Get,
    Host,
    How,
    Launch,
    Loop,
    Phase,
    Put,
    Ready,
    Receive,
    Source,
    Step,
    Wait,
)
from sim.program.ops import Op
from sim.serving.batch import Batch, StepResult
from sim.timeline.spans import Kind, Place, Recorder, Timeline

SPIN_BELOW = 2_000_000  # ns: the end of a wait on the host is spun, since a sleep may overrun by a millisecond
LOOK_AGAIN = (
    100_000  # ns: how often a thread looks for requests that clients send in answer to another thread's outputs
)


class Call(NamedTuple):
    """What a device did on the calling thread; times are nanoseconds of ``time.perf_counter_ns``."""

    name: str
    start: int
    end: int
    correlation: int = 0
    kind: Kind = Kind.CALL


class Device(Protocol):
    """What a wall-clock machine needs of a device. Times are nanoseconds of ``time.perf_counter_ns``."""

    def launch(self, work: Phase | Sequence[Op], stream: str, step: Step) -> Iterable[Call] | None:
        """Enqueue work; returns when the last call has returned, with an account of the calls if it keeps one.

        The account is asked for after the run, so that writing it takes no time of what is measured.
        """

    def synchronize(self, on: Step | Hashable, how: How) -> tuple[int, ...] | None:
        """Block until a step, an event or the whole device is done; the tokens a step has sampled, if there are any."""

    def ready(self, on: Step | Hashable) -> bool:
        """Whether a step or an event is done; never blocks."""

    def close(self, recorder: Recorder, origin: int) -> None:
        """End what runs in the background and record its spans, relative to ``origin``."""


def pause(until: int, spin_below: int = SPIN_BELOW) -> None:
    """Return at ``until``: sleep for most of the way, spin for the rest, and let other threads run meanwhile."""
    while (left := until - time.perf_counter_ns()) > 0:
        if left > spin_below:
            time.sleep((left - spin_below) / 1e9)
        else:  # gives up the interpreter lock for a moment, as a sleep of 0 s would that took no 70 us
            select((), (), (), 0)


def busy(until: int) -> None:
    """Return at ``until``, and keep the calling thread and its interpreter lock until then, as a host's work does."""
    while time.perf_counter_ns() < until:
        pass


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python from looking for garbage, as servers do: a collection in the middle of a step is nobody's cost.

    Within another such block there is nothing left to do.
    """
    if not gc.isenabled():
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class WallMachine:
    """Runs loops on threads of this process.

    ``spend``: how long the server's work takes at least, by name and size: rows, tokens, prompts. Work that is done
    sooner is waited out; that is how added host work, and the host costs of batches that are plain timers, come to
    pass. ``wait`` returns at a time that is given to it: ``pause`` lets other threads run, ``busy`` is work, after
    which a host is as warm as after its own. An exception in any thread ends the run and is raised.
    """

    def __init__(
        self, device: Device, spend: Callable[[str, int, int, int], int], wait: Callable[[int], None] = pause
    ) -> None:
        self._device = device
        self._spend = spend
        self._wait = wait
        self._recorder = Recorder()
        self._calls: list[tuple[int, Iterable[Call], int]] = []  # of all threads: appending is atomic
        self._queues: dict[str, SimpleQueue[Any]] = {}
        self._steps = 0
        self._origin = 0
        self._alone = True

    def run(self, threads: Mapping[str, Loop[Any]], source: Source) -> Timeline:
        """Run all threads to their end and return what happened, times counted from the start of the run."""
        self._alone = len(threads) == 1
        tracks = {name: self._recorder.track(name, Place.HOST_THREAD) for name in threads}
        failures: list[BaseException] = []

        def thread(name: str) -> None:
            try:
                self._interpret(threads[name], tracks[name], source)
            except BaseException as failure:  # noqa: BLE001  raised below, in the caller's thread
                failures.append(failure)

        with no_collection():
            self._run(list(threads), thread, failures)
        self._device.close(self._recorder, self._origin)
        if failures:
            raise failures[0]
        for track, calls, step in self._calls:
            for name, start, end, correlation, kind in calls:
                number = self._recorder.name(name)
                self._recorder.span(track, start - self._origin, end - self._origin, kind, number, correlation, step)
        return self._recorder.timeline(self._origin)

    def _run(self, names: list[str], thread: Callable[[str], None], failures: list[BaseException]) -> None:
        """Have every thread run to its end, the first one here."""
        self._origin = time.perf_counter_ns()
        others = [Thread(target=thread, args=(name,), name=name, daemon=True) for name in names[1:]]
        for other in others:
            other.start()
        thread(names[0])
        for other in others:
            while other.is_alive() and not failures:  # after a failure a thread may wait for ever; it dies with us
                other.join(timeout=0.1)

    def _now(self) -> int:
        return time.perf_counter_ns() - self._origin

    def _interpret(self, loop: Loop[Any], track: int, source: Source) -> None:
        answer: Any = None
        while True:
            try:
                effect = loop.send(answer)
            except StopIteration:
                return
            answer = self._do(effect, track, source)

    def _do(self, effect: object, track: int, source: Source) -> Any:
        start = self._now()
        match effect:
            case Launch():
                batch = effect.work.batch if isinstance(effect.work, Phase) else None
                step = Step(self._steps if batch is None else batch.index, batch)
                self._steps += 1
                calls = self._device.launch(effect.work, effect.stream, step)
                if calls is None:
                    self._span(track, start, Kind.CALL, "launch", step.index)
                else:
                    self._calls.append((track, calls, step.index))
                return step
            case Host():
                result = effect.work()
                sized = effect.batch if effect.batch is not None else result if isinstance(result, Batch) else None
                size = (sized.rows, sized.tokens, len(sized.prompts)) if sized is not None else (0, 0, 0)
                self._wait(self._origin + start + self._spend(effect.name, *size))
                self._span(track, start, Kind.HOST, effect.name, -1 if sized is None else sized.index)
                if sized is result is not None:
                    self._recorder.scheduled(sized, self._now())
                return result
            case Wait():
                tokens_back = self._device.synchronize(effect.on, effect.how)
                of = effect.on if isinstance(effect.on, Step) else None
                name = "cudaDeviceSynchronize" if effect.on == DEVICE else "cudaEventSynchronize"
                self._span(track, start, Kind.WAIT, name, -1 if of is None else of.index)
                stopped = source.stopped(of.batch) if of is not None and of.batch is not None else ()
                return StepResult(self._now(), stopped, tokens_back)
            case Receive():
                if effect.block and self._coming(source):
                    self._span(track, start, Kind.NO_WORK, "no work", -1)
                    start = self._now()
                requests = source.take(self._now())
                self._wait(self._origin + start + self._spend("receive", len(requests), 0, 0))
                self._span(track, start, Kind.HOST, "receive", -1)
                return Arrivals(start, requests, closed=source.closed)
            case Emit():
                self._recorder.emit(effect.outputs, start)
                source.react(effect.outputs, start)
                return None
            case Put():
                self._queue(effect.queue).put(effect.item)
                return None
            case Get():
                return self._queue(effect.queue).get()
            case Ready():
                return self._device.ready(effect.on)
            case _:
                raise TypeError(f"a loop yielded {effect!r}, which is no effect")

    def _coming(self, source: Source) -> bool:
        """Wait for the next arrival, which another thread's outputs may bring about; whether there was any wait."""
        waited = False
        while not source.closed:
            arrival, now = source.next_arrival(), self._now()
            if arrival is not None and arrival <= now:
                break
            waited = True
            soon = now + LOOK_AGAIN
            until = arrival if self._alone and arrival is not None else soon if arrival is None else min(arrival, soon)
            self._wait(self._origin + until)
        return waited

    def _queue(self, name: str) -> SimpleQueue[Any]:
        return self._queues.setdefault(name, SimpleQueue())

    def _span(self, track: int, start: int, kind: Kind, name: str, step: int) -> None:
        call = Call(name, self._origin + start, time.perf_counter_ns(), 0, kind)
        self._calls.append((track, (call,), step))
