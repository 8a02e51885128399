"""Iterations of a loop that do what one was seen to do, one token further, as one function that goes round by itself.

What the iteration does is made once with times that are names; what it leaves is what the next one begins with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sim.fast.caller import Caller
from sim.fast.iterations import Item, Iterations, Launched, Waited, Worked, looks_back
from sim.fast.plan import Plan
from sim.fast.refusal import OutsideError
from sim.fast.script import Time
from sim.fast.segments import Train
from sim.fast.trace import Trace
from sim.program.frame import Frame
from sim.program.lowering import Prices
from sim.serving.batch import Batch

FOR_EVER = 1 << 62


class Quiet(Protocol):
    """Code that runs up to so many iterations that begin before an arrival; returns how many."""

    def __call__(
        self, steps: int, arrival: int, prices: Prices, work: Sequence[int], marks: list[int],
        iterations: Iterations, batch: Batch, used: Sequence[int], out: list[tuple[Any, ...]], rows: int, padding: int,
    ) -> int:  # fmt: skip
        """``work`` is what each piece of host work takes; rows of deliveries are put ``out``."""


class Stretch:
    """Quiet iterations like some ``items``, whose steps have a plan; code for them is written when it is first run.

    ``trains``: of steps whose kernels are launched one by one.
    """

    def __init__(self, caller: Caller, items: Sequence[Item], frame: Frame, plan: Plan) -> None:
        self.trains = any(isinstance(segment, Train) for _, segments in plan for segment in segments)
        self._caller = caller
        self._items = items
        self._frame = frame
        self._plan = plan
        self._back = looks_back(items)
        self._code: Quiet | None = None
        self._refused = False

    def run(
        self, work: Sequence[int], batch: Batch, prices: Prices, used: Sequence[int], steps: int,
        arrival: int | None, iterations: Iterations,
    ) -> int:  # fmt: skip
        """Run up to so many iterations after a batch's, which may have other rows than the first; returns how many.

        ``work`` is what each piece of host work takes, ``used`` the KV blocks of each batch that comes back.
        """
        code = self._code or self._written(prices)
        if code is None or len(iterations.steps) < self._back:
            return 0
        launched = list(iterations.steps)[len(iterations.steps) - self._back :]
        marks: list[int] = [step.mark for step in launched]
        out: list[tuple[Any, ...]] = []
        done = code(
            steps, FOR_EVER if arrival is None else arrival, prices, work, marks, iterations, batch, used, out,
            batch.rows, batch.padding,
        )  # fmt: skip
        for step, mark in zip(launched, marks, strict=True):
            step.mark = mark
        for step in iterations.steps:
            step.index += done
        self._caller.spans.recorder.deliveries.add_all(out)
        return done

    def _written(self, prices: Prices) -> Quiet | None:
        """The code, None where a choice is in it."""
        if not self._refused:
            try:
                writer = _Writer(self._caller, self._plan, prices, len(self._frame.ops), self._back, trains=self.trains)
                self._code = writer.written(self._items)
            except OutsideError:
                self._refused = True
        return self._code


class _Writer:
    def __init__(self, caller: Caller, plan: Plan, prices: Prices, count: int, back: int, *, trains: bool) -> None:
        self._back = back
        self._caller = caller
        self._plan = plan
        self._trains = trains
        self._trace = Trace(caller)
        script = self._script = self._trace.script
        if trains:
            self._prices = [Time(script, (f"ns[{i}]",)) for i in range(count)]
        else:
            self._prices = [Time(script, (), (f"rest[{i}]",)) for i in range(count)]
            for number, position in enumerate(prices.changing):
                self._prices[position] = Time(script, (f"ns[{number}]",))

    def written(self, items: Sequence[Item]) -> Quiet:
        trace, script, caller, back = self._trace, self._script, self._caller, self._back
        me, costs = script.keep(caller), caller.costs
        call = costs.scaled(costs.constants.event_sync_call)
        marks = [f"m{k}" for k in range(back, 0, -1)]
        fired: list[Any] = [Time(script, (name,)) for name in marks]
        body, worked, launched = script.lines, 0, 0
        for item in items:
            if isinstance(item, Worked):
                trace.now = trace.now + Time(script, (), (f"work[{worked}]",))
                worked += 1
            elif isinstance(item, Launched):
                launched += 1
                body += ["newest += 1", "context += rows", "ns = price(context)"]
                fired.append(trace.launch(self._plan, self._prices))
            elif isinstance(item, Waited):
                wake = costs.constants.wake(device=False, blocking=item.how == "blocking")
                start, mark = script.name(trace.now), script.name(fired[-1 - item.lag])
                trace.now = script.copied(trace.now + call)
                body.append(f"if {mark} > {start} and {mark} + {wake} > {trace.now}: {trace.now} = {mark} + {wake}")
            else:
                row = f"{trace.now}, newest - {item.lag}, rows, rows, False, blocks(), 0, 0, rows, padding"
                body.append(f"out.append(({row}))")
        now = str(trace.now)
        if not self._trains:
            self._seen_to_start(items, fired[-1])
        left = [*trace.left(settled=True), *self._queued()]
        carried = [(str(old), str(new)) for old, new in trace.carried]
        carried += [("now", now), *zip(marks, map(str, fired[len(fired) - back :]), strict=True)]
        names, values = (", ".join(column) for column in zip(*carried, strict=True))
        body += [*self._entered(), f"{names}, = {values},"]
        lines = ["newest, context, blocks = batch.index, batch.decode_context, iter(used).__next__"]
        lines += [f"now, done = {me}.now, 0"]
        if trace.otherwise:
            lines += [f"if {' or '.join(trace.otherwise)}: return 0"]
        lines += [f"{', '.join(marks)}, = marks"] if marks else []
        lines += [*self._room(), "rest = prices.rest"]
        lines += [f"price = prices.{'at' if self._trains else 'changes'}"]
        lines += [*script.before, "while done < steps and now < arrival:"]
        inner = [*self._full(), "done, began = done + 1, now", *body]
        lines += [f"    {line}" for line in inner]
        lines += ["if not done: return 0", *left, f"{me}.now = now"]
        lines += [f"marks[:] = {', '.join(marks)},"] if marks else []
        lines += ["iterations.began = began", "return done"]
        arguments = "steps, arrival, prices, work, marks, iterations, batch, used, out, rows, padding"
        quiet: Quiet = script.compiled(f"def run({arguments}):", lines)
        return quiet

    def _launching(self) -> list[tuple[str, str, int]]:
        """Streams that the steps launch on: name, real queue and how many launches a step."""
        streams = self._caller.device.streams.items()
        found = [
            (name, f"{self._script.keep(stream)}.launches", self._trace.queue(name).count) for name, stream in streams
        ]
        return [each for each in found if each[2]]

    def _seen_to_start(self, items: Sequence[Item], mark: Any) -> None:
        """Refuse steps whose results may come back before all that they launch has started."""
        waits = any(isinstance(item, Waited) and item.lag == self._back for item in items)
        starts = [start for name, _, _ in self._launching() for start in self._starts(name)]
        if not waits or not all(self._script.covers(mark, start) for start in starts):
            raise OutsideError("launches that start after a step's results")

    def _starts(self, name: str) -> Sequence[Any]:
        (starts,) = self._trace.queue(name).entered
        assert isinstance(starts, list)
        return starts

    def _room(self) -> list[str]:
        """No more rounds than launch queues have room for, where their launches are entered afterwards."""
        lines = [] if self._trains else [
            f"steps = {queue}.rounds(steps, now, {count}, {self._back})" for _, queue, count in self._launching()
        ]  # fmt: skip
        if self._back > 1:
            lines += [f"q{number} = ()" for number, _ in enumerate(self._launching())]
        return lines

    def _full(self) -> list[str]:
        """No further iteration where a queue could fill."""
        if not self._trains:
            return []
        return [f"if {queue}.can_fill(now, {count}): break" for _, queue, count in self._launching()]

    def _entered(self) -> list[str]:
        """In each round enter trains into the real queues, or keep launches of the last rounds, if more than one."""
        lines = []
        for number, (name, _, count) in enumerate(self._launching()):
            if self._trains:
                lines += self._trace.entered(name)
            elif self._back > 1:
                lines.append(f"q{number} = (*q{number}, {self._texts(name)})[-{count * self._back}:]")
        return lines

    def _queued(self) -> list[str]:
        """After the last round enter its launches, and those of others that may not have started."""
        lines = []
        for number, (name, queue, count) in enumerate([] if self._trains else self._launching()):
            starts = f"q{number}" if self._back > 1 else f"({self._texts(name)})" if self._back else "()"
            lines.append(f"if done > {self._back}: {queue}.add_last({count} * done, {starts})")
            lines.append(f"else: {queue}.add_all({starts})")
        return lines

    def _texts(self, name: str) -> str:
        return "".join(f"{self._trace.settled(start)}, " for start in self._starts(name))
