"""Iterations of a loop that do what one was seen to do, one token further, as one function that goes round by itself.

What the iteration does is made once with times that are names; what it leaves is what the next one begins with.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
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
ROUND = ("receive", "schedule", "prepare", "process")
"""The pieces of host work of a round."""
GO_ON = ("newest += 1", "context += rows")
"""One token further."""

Asked = tuple[Prices, Sequence[int], int, int, int, int]
"""Of a batch that a server was asked for: durations, what host work takes, number, context, rows and padding."""
Told = tuple[int, int, int, Callable[[], int]]
"""After a server was told a result: the time, the next arrival, how many quiet rounds follow, KV blocks of each."""


class Asking(Protocol):
    """Who is asked where rounds are not quiet."""

    def ask(self, done: int, now: int) -> Asked | None:
        """After so many quiet rounds one begins that is none; None when it is for others to run."""

    def told(self, now: int) -> Told:
        """The result that such a round waits for is there."""


class Quiet(Protocol):
    """Code that runs rounds that begin before an arrival; returns how many since a server was last asked."""

    def __call__(
        self, steps: int, arrival: int, prices: Prices, work: Sequence[int], marks: list[int], iterations: Iterations,
        batch: Batch, used: Sequence[int], out: list[tuple[Any, ...]], ask: Any, told: Any,
    ) -> int:  # fmt: skip
        """``work`` is what each piece of host work takes; rows of deliveries are put ``out``."""


class Stretch:
    """Quiet iterations like some ``items``, whose steps have a plan; code for them is written when it is first run.

    With ``asks`` the items are those of a round, and a server is asked about rounds that are not quiet. Code is
    ``shared`` by frames that launch the same. ``trains``: of steps whose kernels are launched one by one.
    """

    def __init__(
        self, caller: Caller, items: Sequence[Item], frame: Frame, plan: Plan,
        shared: dict[Hashable, Quiet] | None = None, *, asks: bool = False,
    ) -> None:  # fmt: skip
        self.trains = any(isinstance(segment, Train) for _, segments in plan for segment in segments)
        self.frame = frame
        self.plan = plan
        self.code: Quiet | None = None
        self._caller = caller
        self._items = items
        self._back = looks_back(items)
        self._shared = shared
        self._asks = asks
        self._refused = False

    def run(
        self, work: Sequence[int], batch: Batch, prices: Prices, used: Sequence[int], steps: int,
        arrival: int | None, iterations: Iterations, server: Asking | None = None, out: list[Any] | None = None,
    ) -> int:  # fmt: skip
        """Run up to so many iterations after a batch's, which may have other rows than the first; returns how many.

        ``work`` is what each piece of host work takes, ``used`` the KV blocks of each batch that comes back. With a
        ``server`` other rounds follow, and what is returned are the quiet ones since it was last asked.
        """
        code = self.code or self._written(prices)
        launched, back = iterations.steps, self._back
        if code is None or len(launched) < back:
            return 0
        marks: list[int] = [launched[place].mark for place in range(-back, 0)]
        out = [] if out is None else out
        ask, told = (None, None) if server is None else (server.ask, server.told)
        done = code(
            steps, FOR_EVER if arrival is None else arrival, prices, work, marks, iterations, batch, used, out, ask,
            told,
        )  # fmt: skip
        for place, mark in zip(range(-back, 0), marks, strict=True):
            launched[place].mark = mark
        if done:
            iterations.passed(done)
        if out:
            self._caller.spans.recorder.deliveries.add_all(out)
        return done

    def _written(self, prices: Prices) -> Quiet | None:
        """The code, None where a choice is in it."""
        if not self._refused:
            try:
                writer = _Writer(
                    self._caller, self.plan, prices, len(self.frame.ops), self._back,
                    trains=self.trains, asks=self._asks,
                )  # fmt: skip
                self.code = writer.written(self._items, self._shared)
            except OutsideError:
                self._refused = True
        return self.code


class _Writer:
    def __init__(
        self, caller: Caller, plan: Plan, prices: Prices, count: int, back: int, *, trains: bool, asks: bool
    ) -> None:
        self._asks = asks
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

    def written(self, items: Sequence[Item], shared: dict[Hashable, Quiet] | None) -> Quiet:
        trace, script, caller, back = self._trace, self._script, self._caller, self._back
        me, costs = script.keep(caller), caller.costs
        call = costs.scaled(costs.constants.event_sync_call)
        marks = [f"m{k}" for k in range(back, 0, -1)]
        fired: list[Any] = [Time(script, (name,)) for name in marks]
        body, worked = script.lines, 0
        for item in items:
            if isinstance(item, Worked):
                took = Time(script, (), (f"work[{worked}]",))
                worked += 1
                if self._asks and worked == len(ROUND):
                    trace.now = self._told(trace.now, took)
                else:
                    trace.now = trace.now + took
            elif isinstance(item, Launched):
                body += [*([] if self._asks else GO_ON), "ns = price(context)"]
                fired.append(trace.launch(self._plan, self._prices))
            elif isinstance(item, Waited):
                wake = costs.constants.wake(device=False, blocking=item.how == "blocking")
                start, mark = script.name(trace.now), script.name(fired[-1 - item.lag])
                trace.now = script.copied(trace.now + call)
                body.append(f"if {mark} > {start} and {mark} + {wake} > {trace.now}: {trace.now} = {mark} + {wake}")
            else:
                row = f"{trace.now}, newest - {item.lag}, rows, rows, False, blocks(), 0, 0, rows, padding"
                body.append(f"{'if quiet: ' if self._asks else ''}out.append(({row}))")
        now = str(trace.now)
        if not self._trains:
            self._seen_to_start(items, fired[-1])
        left = [*trace.left(settled=True), *self._queued()]
        carried = [(str(old), str(new)) for old, new in trace.carried]
        carried += [("now", now), *zip(marks, map(str, fired[len(fired) - back :]), strict=True)]
        names, values = (", ".join(column) for column in zip(*carried, strict=True))
        body += [*self._entered(), f"{names}, = {values},"]
        lines = ["newest, context, blocks = batch.index, batch.decode_context, iter(used).__next__"]
        lines += [f"now, done, n, most, rows, padding = {me}.now, 0, 0, {FOR_EVER}, batch.rows, batch.padding"]
        if trace.otherwise:
            lines += [f"if {' or '.join(trace.otherwise)}: return 0"]
        lines += [f"{', '.join(marks)}, = marks"] if marks else []
        priced = [f"rest, price = prices.rest, prices.{'at' if self._trains else 'changes'}", *script.sums]
        lines += [*self._room(), *script.before, *priced]
        lines += [f"while n < most and now < arrival{'' if self._asks else ' and done < steps'}:"]
        inner = [*self._full(), *(self._asking(priced) if self._asks else ["done += 1"])]
        inner += ["n, began = n + 1, now", *body]
        lines += [f"    {line}" for line in inner]
        lines += ["if not n: return 0", *left, f"{me}.now = now"]
        lines += [f"marks[:] = {', '.join(marks)},"] if marks else []
        lines += ["iterations.began = began", "return done"]
        arguments = "steps, arrival, prices, work, marks, iterations, batch, used, out, ask, told"
        quiet: Quiet = script.compiled(f"def run({arguments}):", lines, shared)
        return quiet

    @staticmethod
    def _asking(priced: Sequence[str]) -> list[str]:
        """A quiet round, or another that a server is asked for."""
        lines = ["quiet = done < steps", "if quiet:", "    done += 1", *(f"    {line}" for line in GO_ON), "else:"]
        lines += ["    asked, done = ask(done, now), 0", "    if asked is None: break"]
        lines += ["    prices, work, newest, context, rows, padding = asked"]
        return lines + [f"    {line}" for line in priced]

    def _told(self, now: Any, took: Time) -> Time:
        """When a result has been processed, by a server if the round is not quiet, which tells of the next ones."""
        start, ended = self._script.name(now), self._script.fresh()
        self._script.lines += [
            f"if quiet: {ended} = {start} + {took}",
            f"else: {ended}, arrival, steps, blocks = told({start})",
        ]
        return Time(self._script, (ended,))

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
            f"most = {queue}.rounds(most, now, {count}, {self._back})" for _, queue, count in self._launching()
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
            lines.append(f"if n > {self._back}: {queue}.add_last({count} * n, {starts})")
            lines.append(f"else: {queue}.add_all({starts})")
        return lines

    def _texts(self, name: str) -> str:
        return "".join(f"{self._trace.settled(start)}, " for start in self._starts(name))
