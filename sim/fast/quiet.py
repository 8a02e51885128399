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
        launched = [iterations.steps[-back] for back in range(self._back, 0, -1)]
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
                writer = _Writer(self._caller, self._plan, prices, len(self._frame.ops), trains=self.trains)
                self._code = writer.written(self._items, self._back)
            except OutsideError:
                self._refused = True
        return self._code


class _Writer:
    def __init__(self, caller: Caller, plan: Plan, prices: Prices, count: int, *, trains: bool) -> None:
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

    def written(self, items: Sequence[Item], back: int) -> Quiet:
        trace, script, caller = self._trace, self._script, self._caller
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
        left = trace.left(settled=True)
        carried = [(str(old), str(new)) for old, new in trace.carried]
        carried += [("now", now), *zip(marks, map(str, fired[len(fired) - back :]), strict=True)]
        names, values = (", ".join(column) for column in zip(*carried, strict=True))
        body += [*self._queued(inside=True), f"{names}, = {values},"]
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
        lines += ["if not done: return 0", *left, *self._queued(inside=False), f"{me}.now = now"]
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

    def _room(self) -> list[str]:
        """No more iterations than launch queues have room for, where their launches are entered afterwards."""
        if self._trains:
            return []
        lines = []
        for number, (_, queue, count) in enumerate(self._launching()):
            lines += [f"q{number} = []", f"steps = min(steps, {queue}.room(now) // {count})"]
        return lines

    def _full(self) -> list[str]:
        """No further iteration where a queue could fill."""
        if not self._trains:
            return []
        return [f"if {queue}.can_fill(now, {count}): break" for _, queue, count in self._launching()]

    def _queued(self, *, inside: bool) -> list[str]:
        """Enter launches into the real queues: trains one by one, others together, after the last iteration."""
        lines = []
        for number, (name, queue, _) in enumerate(self._launching()):
            if self._trains:
                lines += self._trace.entered(name) if inside else []
            elif inside:
                (starts,) = self._trace.queue(name).entered
                lines.append(f"q{number} += {', '.join(map(str, starts))},")
            else:
                lines.append(f"{queue}.add_many(q{number}, now)")
        return lines
