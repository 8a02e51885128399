"""Several equal steps as products of matrices over (max, +).

A time is a form: the largest of the state's variables, each with something added. Segments settle forms as they
settle numbers, since both know ``+`` and a maximum. A form is a column a step and a row a variable.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from sim.effects import Step
from sim.fast.caller import Caller
from sim.fast.composed_spans import ComposedSpans
from sim.fast.device import Blind
from sim.fast.iterations import Item, Launched, Waited, Worked, looks_back
from sim.fast.launch_queue import NEVER, Endless, LaunchQueue, Starts
from sim.fast.linked import Linked
from sim.fast.refusal import OutsideError
from sim.fast.segments import Filled
from sim.timeline.spans import Column, Kind, Recorder

HOST = "host"
DOUBLINGS = 20
"""A million iterations: so long it may take until a host that is faster by a hair has to wait."""
Form = Any
"""An array of variables by steps, which ``Device`` and segments take for a time."""


class IrregularError(OutsideError):
    """A step is no product: which of two comes first is not known beforehand."""


class _Queue(Endless):
    """A launch queue that cannot fill; it keeps what is needed to fill a real one afterwards."""

    __slots__ = ("entries",)

    def __init__(self, depth: int) -> None:
        super().__init__(depth)
        self.entries: list[tuple[int, Form, Starts | None]] = []

    def add(self, start: int) -> None:
        self.count += 1
        self.entries.append((1, start, None))

    def add_train(self, launches: int, last: int, starts: Starts) -> None:
        self.count += launches
        self.entries.append((launches, last, starts))


class _Device(Blind):
    """A device whose times are forms."""

    later = staticmethod(np.maximum)
    refused = IrregularError


class _Caller(Caller):
    """A host thread whose clock is a form; ``call_ns`` adds up what its calls take."""

    __slots__ = ("call_ns",)

    call_ns: int

    def paid(self, held: int, api: int) -> int:
        start = self.now
        self.passed(held + api)
        return start

    def passed(self, ns: int) -> None:
        self.call_ns += int(ns)
        self.now = self.now + ns


class Composition:
    """``steps`` iterations composed: ``variables`` name the state, ``matrix`` leads from one iteration to the next.

    ``host_ns`` is what the host thread needs an iteration, waits not included, ``call_ns`` of that for its calls.

    Raises ``IrregularError`` where an iteration is no product.
    """

    def __init__(self, caller: Caller, items: Sequence[Item], in_flight: Sequence[Step], times: Column) -> None:
        self.steps = times.shape[1]
        self._real = caller.device
        self._marks = in_flight[max(0, len(in_flight) - looks_back(items)) :]
        keys: list[tuple[str, Hashable]] = [(HOST, "")]
        keys += [("stream", name) for name in self._real.streams]
        keys += [("engine", direction) for direction in self._real.engines]
        keys += [("mark", back) for back in range(len(self._marks), 0, -1)]
        self.variables = keys
        self._variable = {key: self._unit(i) for i, key in enumerate(keys)}
        self.spans = ComposedSpans(caller.spans.recorder, caller.spans.track, kept=caller.spans.kept)
        self._device = self._symbolic()
        self._caller = _Caller(caller.costs, self._device, self.spans, None)
        self._caller.call_ns = 0
        self._caller.now = self._variable[HOST, ""]
        self.guards: list[tuple[Form, Form, bool]] = []
        self.emitted: list[tuple[Form, int]] = []
        self._run(items, times)
        device = self._device
        outputs: list[Form] = [self._caller.now]
        outputs += [device.reached(device.streams[name]) for name in self._real.streams]
        outputs += [device.engines[direction][2] for direction in self._real.engines]
        outputs += self._fired[len(self._fired) - len(self._marks) :] if self._marks else []
        self.call_ns = self._caller.call_ns
        self.launches = sum(stream.launches.count for stream in device.streams.values())
        waits = sum(isinstance(item, Waited) for item in items) * caller.costs.scaled(device.constants.event_sync_call)
        self.host_ns = self.call_ns + waits + sum(item.ns for item in items if isinstance(item, Worked))
        self.matrix = np.ascontiguousarray(np.stack([self._whole(form) for form in outputs]).transpose(2, 0, 1))

    def _unit(self, position: int) -> Form:
        form = np.full((len(self.variables), 1), NEVER, dtype=np.int64)
        form[position] = 0
        return form

    def _whole(self, form: Form) -> Column:
        return np.broadcast_to(form, (len(self.variables), self.steps))

    def _symbolic(self) -> _Device:
        real = self._real
        device = _Device(real.constants, Recorder(), real.launched)
        for name, other in real.streams.items():
            stream = device.stream(name)
            stream.track = other.track
            stream.free_at = self._variable["stream", name]
            stream.replayed = other.replayed
            stream.launches = _Queue(real.constants.queue_depth)
        for direction, (other, _, _) in real.engines.items():
            device.engines[direction] = device.streams[other.name], NEVER, self._variable["engine", direction]
        device.last = None if real.last is None else device.streams[real.last.name]
        return device

    def _run(self, items: Sequence[Item], times: Column) -> None:
        caller, device = self._caller, self._device
        self._fired: list[Form] = [form for (kind, _), form in self._variable.items() if kind == "mark"]
        constants = device.constants
        spans = self.spans
        newest = -1  # steps are counted from the one that the first iteration launches
        for item in items:
            start = caller.now
            if isinstance(item, Worked):
                caller.now = start + item.ns
                spans.host(start, caller.now, Kind.HOST, item.name, None if item.lag is None else newest - item.lag)
            elif isinstance(item, Launched):
                newest += 1
                step = Step(newest)
                filled = Filled(times) if spans.kept else Linked.steps(times, device.later)
                for name, segments in item.plan:
                    for segment in segments:
                        segment.make(caller, device.streams[name], filled, step)
                self._fired.append(step.mark)
            elif isinstance(item, Waited):
                fired = self._fired[-1 - item.lag]
                self.guards.append((fired, start, item.late))
                caller.now = start + caller.costs.scaled(constants.event_sync_call)
                if item.late:
                    wake = constants.wake(device=False, blocking=item.how == "blocking")
                    caller.now = device.later(caller.now, fired + wake)
                spans.host(start, caller.now, Kind.WAIT, "cudaEventSynchronize", newest - item.lag)
            else:
                self.emitted.append((caller.now, item.lag))

    def state(self, now: int) -> Column:
        """The variables' values before the first iteration."""
        real = self._real
        values = [now, *(real.reached(stream) for stream in real.streams.values())]
        values += [end for _, _, end in real.engines.values()]
        values += [step.mark for step in self._marks]
        return np.array(values, dtype=np.int64)

    def states(self, now: int) -> Column:
        """The variables' values before each iteration and after the last, a row each."""
        found = np.empty((self.steps + 1, len(self.variables)), dtype=np.int64)
        found[0] = state = self.state(now)
        for number, matrix in enumerate(self.matrix, start=1):
            found[number] = state = (matrix + state).max(axis=1)
        return found

    def values(self, form: Form, states: Column) -> Column:
        """What a form amounts to in each iteration."""
        found: Column = (form + states[: self.steps].T).max(axis=0)
        return found

    def values_of(self, forms: Sequence[Form], states: Column) -> Column:
        """The same of several forms."""
        before = states[: self.steps].T
        sums = np.empty((len(forms), *before.shape), dtype=np.int64)
        for form, each in zip(forms, sums, strict=True):
            np.add(form, before, out=each)
        found: Column = sums.max(axis=1)
        return found

    def holds(self, states: Column, arrival: int | None) -> int:
        """How many iterations are as assumed: nothing arrives, waits find what they found, no queue can fill."""
        wrong = np.zeros(self.steps + 1, dtype=bool)
        wrong[-1] = True
        if arrival is not None:
            wrong[:-1] |= states[:-1, 0] >= arrival
        for fired, start, late in self.guards:
            wrong[:-1] |= (self.values(fired, states) > self.values(start, states)) != late
        for name, stream in self._device.streams.items():
            queue = cast("_Queue", stream.launches)
            if queue.entries:
                wrong[:-1] |= ~self._roomy(self._real.streams[name].launches, queue, states)
        return int(wrong.argmax())

    def settles(self, now: int) -> bool:
        """Whether waits find what they found however often the first iteration comes again: soon, and long after.

        A host a little faster than its device gains on it each time, until it has to wait once and pays a wake-up.
        """
        matrix, state = self.matrix[0], self.state(now)
        for far in (matrix, _power(matrix, DOUBLINGS)):
            state = (far + state).max(axis=1)
            for _ in range(2 * len(state)):
                for fired, start, late in self.guards:
                    if ((fired[:, 0] + state).max() > (start[:, 0] + state).max()) != late:
                        return False
                state = (matrix + state).max(axis=1)
        return True

    def _roomy(self, real: LaunchQueue, queue: _Queue, states: Column) -> npt.NDArray[np.bool_]:
        """In which iterations a launch queue cannot fill.

        It cannot where, as an iteration begins, all launches have started but those of the ``back - 1`` before it, and
        the queue holds these and the iteration's own.
        """
        back, launches = len(self._marks) + 1, queue.count
        if launches * back > queue.depth:
            return np.zeros(self.steps, dtype=bool)
        earlier = [real.started(real.count - launches * (back - 1 - k), int(states[k, 0])) for k in range(back)]
        last = self.values(queue.entries[-1][1], states)
        return np.append(earlier, last[:-back] <= states[back:-1, 0])[: self.steps]

    def leave(self, caller: Caller, states: Column, steps: int) -> None:
        """Put the real device and its caller where so many iterations lead."""
        at = steps - 1

        def value(form: Form, step: int = at) -> int:
            return form if isinstance(form, int) else int((form[:, step % form.shape[1]] + states[step]).max())

        real, device = self._real, self._device
        caller.now = int(states[steps, 0])
        for name, stream in device.streams.items():
            other = real.streams[name]
            other.replayed = stream.replayed
            other.floor = max(other.floor, value(stream.floor))
            if stream.free_at is not self._variable["stream", name]:
                other.free_at = value(stream.free_at)
            self._queued(other.launches, cast("_Queue", stream.launches), value, steps)
        for direction, (stream, ready, end) in device.engines.items():
            if end is not self._variable["engine", direction]:
                real.engines[direction] = real.streams[stream.name], value(ready), value(end)
        real.events |= {event: value(form) for event, form in device.events.items()}
        for name in ("ready", "busy_until", "free_from"):
            form = getattr(device, name)
            if not isinstance(form, int):
                setattr(real, name, value(form))
        fired = self._fired[len(self._fired) - len(self._marks) :] if self._marks else []
        for step, form in zip(self._marks, fired, strict=True):
            step.mark = value(form)

    def _queued(self, real: LaunchQueue, queue: _Queue, value: Any, steps: int) -> None:
        """Give a real launch queue the launches of the iterations that may not all have started."""
        if not queue.entries:
            return
        back = len(self._marks) + 1
        real.skip(queue.count * (steps - back))
        for step in range(steps - back, steps):
            for launches, last, starts in queue.entries:
                if starts is None:
                    real.add(value(last, step))
                else:
                    assert isinstance(starts, partial)
                    pace, (first, now) = starts.func.__self__, starts.args  # type: ignore[attr-defined]
                    numbers = partial(pace.at(step).starts, value(first, step), value(now, step))
                    real.add_train(launches, value(last, step), numbers)


def _power(matrix: Column, doublings: int) -> Column:
    """What leads so many doublings of iterations on."""
    for _ in range(doublings):
        matrix = np.maximum((matrix[:, :, None] + matrix[None]).max(axis=1), NEVER)
    return matrix
