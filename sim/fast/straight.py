"""A plan's calls as one piece of straight code.

The calls of a plan are made once with times that are names, on a device like the real one; what they add and compare
is written down and compiled. From then on a step with the same plan is a few dozen sums and maxima of integers,
without the calls between. Nothing here knows what a call does: that stays with segments and device.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, cast

from sim.effects import Step
from sim.fast.caller import Caller
from sim.fast.device import Device, Stream
from sim.fast.launch_queue import NEVER, LaunchQueue
from sim.fast.pace import Pace
from sim.fast.plan import Plan
from sim.fast.refusal import OutsideError
from sim.fast.segments import Filled, Train
from sim.program.constants import Constants
from sim.timeline.spans import Recorder

Run = Callable[[Sequence[int], Step], bool]
"""Takes the durations of a step's operations and the step, whose mark it sets; False if it may not be used now."""


class _Script:
    """Statements, and the objects that they name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.objects: dict[str, Any] = {"partial": partial, "Filled": Filled}
        self._names: dict[int, str] = {}
        self._count = 0

    def keep(self, value: Any) -> str:
        """A name for an object."""
        name = self._names.get(id(value))
        if name is None:
            name = self._names[id(value)] = f"o{len(self.objects)}"
            self.objects[name] = value
        return name

    def named(self, text: str) -> _Time:
        """A name for what an expression amounts to."""
        self._count += 1
        self.lines.append(f"t{self._count} = {text}")
        return _Time(self, f"t{self._count}")

    def later(self, a: Any, b: Any) -> Any:
        """The larger of two times."""
        for one, other in ((a, b), (b, a)):
            if isinstance(one, int) and (one <= NEVER or isinstance(other, int)):
                return max(a, b) if isinstance(other, int) else other
        found, other = self.named(str(a)), self.named(str(b))
        self.lines.append(f"if {other} > {found}: {found} = {other}")
        return found

    def compiled(self) -> Run:
        """The function of durations ``ns`` and a ``step``."""
        source = "\n    ".join(["def run(ns, step):", *self.lines])
        names = dict(self.objects)
        exec(compile(source, "<straight>", "exec"), names)  # noqa: S102  written above, of names and numbers alone
        run: Run = names["run"]
        return run


class _Time:
    """A time by its name, and a number added to it."""

    __slots__ = ("_add", "_name", "_script")

    def __init__(self, script: _Script, name: str, add: int = 0) -> None:
        self._script = script
        self._name = name
        self._add = add

    def __str__(self) -> str:
        return f"{self._name} + {self._add}" if self._add else self._name

    def __add__(self, other: Any) -> _Time:
        if isinstance(other, _Time):
            both = self._script.named(f"{self._name} + {other._name}")
            return _Time(self._script, both._name, self._add + other._add)
        return _Time(self._script, self._name, self._add + int(other))

    __radd__ = __add__

    def __mul__(self, count: int) -> _Time:
        return self._script.named(f"({self}) * {int(count)}")

    def _compared(self, other: object) -> bool:
        del other
        raise OutsideError("calls that go one way or another")

    __ge__ = __gt__ = __le__ = __lt__ = _compared


class _Queue(LaunchQueue):
    """What enters a launch queue that cannot fill: starts of launches one by one, and trains."""

    __slots__ = ("entered",)

    def __init__(self) -> None:
        super().__init__(0)
        self.entered: list[list[Any] | tuple[int, Any, Any]] = []

    def add(self, start: Any) -> None:
        self.count += 1
        if not self.entered or not isinstance(self.entered[-1], list):
            self.entered.append([])
        self.entered[-1].append(start)  # type: ignore[union-attr]

    def add_train(self, launches: int, last: Any, starts: Any) -> None:
        self.count += launches
        self.entered.append((launches, last, starts))

    def opens(self, now: Any) -> int:
        del now
        return NEVER

    def can_fill(self, now: Any, launches: int) -> bool:
        del now, launches
        return False


class _Events(dict[Hashable, Any]):
    """Events as they were before the step's calls, and as these leave them."""

    def __init__(self, script: _Script, real: dict[Hashable, int]) -> None:
        super().__init__()
        self._script = script
        self._real = real

    def get(self, event: Hashable, default: Any = None) -> Any:
        if event in self or event not in self._real:
            return super().get(event, default)
        return self._script.named(f"{self._script.keep(self._real)}[{self._script.keep(event)}]")


class _Filled(Filled):
    """Durations by name, and paces of trains, which are computed when the code runs."""

    __slots__ = ("_script",)

    def __init__(self, script: _Script, count: int) -> None:
        super().__init__([_Time(script, f"ns[{i}]") for i in range(count)])
        self._script = script

    def pace(self, train: Train, constants: Constants) -> Pace:
        script = self._script
        pace = script.named(f"Filled(ns).pace({script.keep(train)}, {script.keep(constants)})")
        fields: Any = [_Time(script, f"{pace}.{field}") for field in ("first", "slack", "before", "last")]
        return Pace(len(train.at), *fields, pace, pace)  # type: ignore[call-arg]


class _Device(Device):
    """A device whose times have names."""

    def __init__(self, script: _Script, real: Device) -> None:
        super().__init__(real.constants, Recorder(), real.launched)
        self.later = script.later
        self.events = _Events(script, real.events)
        for name, other in real.streams.items():
            stream = self.streams[name] = Stream(name, other.track, 0)
            at = script.keep(other)
            stream.free_at, stream.floor = script.named(f"{at}.free_at"), script.named(f"{at}.floor")  # type: ignore[assignment]
            stream.replayed = other.replayed
            stream.launches = _Queue()
        for direction, (other, _, _) in real.engines.items():
            end: Any = script.named(f"{script.keep(real.engines)}[{direction!r}][2]")
            self.engines[direction] = self.streams[other.name], NEVER, end
        self.last = None if real.last is None else self.streams[real.last.name]

    def _switched(self, stream: Stream, ready: int, *, backlog: bool) -> int:
        del ready, backlog
        raise OutsideError(f"kernels that alternate between streams, {stream.name!r} being one")

    def _in_turn(self, other: Stream, stream: Stream, ready: int, before: int) -> None:
        del ready, before
        raise OutsideError(f"copies of streams {other.name!r} and {stream.name!r} on one engine")


def written(caller: Caller, plan: Plan, count: int) -> Run:
    """The code of a plan that has been run before, whose step has so many operations.

    It holds for a device whose last kernel and copies came from the same streams as now, and whose launch queues
    cannot fill, and says False elsewhere, as it always does for a plan with a choice in it.
    """
    script = _Script()
    try:
        _write(script, caller, plan, count)
    except OutsideError:
        return lambda _ns, _step: False
    return script.compiled()


def _write(script: _Script, caller: Caller, plan: Plan, count: int) -> None:
    real, me = caller.device, script.keep(caller)
    device = script.keep(real)
    symbolic = _Device(script, real)
    loads, script.lines = script.lines, []
    begin: Any = _Time(script, "now")
    step = Step(0)
    writer = Caller(caller.costs, symbolic, caller.spans, None)
    writer.now = begin
    before = {name: (stream.free_at, stream.floor) for name, stream in symbolic.streams.items()}
    filled = _Filled(script, count)
    for name, segments in plan:
        stream = symbolic.streams[name]
        for segment in segments:
            segment.make(writer, stream, filled, step)
    calls, script.lines = script.lines, []
    # what the code takes for granted
    last = "None" if real.last is None else script.keep(real.last)
    guards = [f"{device}.last is not {last}"]
    for name, stream in symbolic.streams.items():
        at, launches = script.keep(real.streams[name]), cast("_Queue", stream.launches)
        guards += [f"{at}.replayed is not {real.streams[name].replayed}"]
        if launches.count:
            guards += [f"{at}.launches.can_fill(now, {launches.count})"]
    engines = script.keep(real.engines)
    guards += [f"{engines}[{to!r}][0] is not {script.keep(other)}" for to, (other, _, _) in real.engines.items()]
    # where it leaves the device
    lines = script.lines
    for name, stream in symbolic.streams.items():
        at = script.keep(real.streams[name])
        for field, old in zip(("free_at", "floor"), before[name], strict=True):
            if (new := getattr(stream, field)) is not old:
                lines.append(f"{at}.{field} = {new}")
        if stream.replayed != real.streams[name].replayed:
            lines.append(f"{at}.replayed = {stream.replayed}")
        for entry in cast("_Queue", stream.launches).entered:
            if isinstance(entry, list):
                lines.append(f"{at}.launches.add_all(({', '.join(map(str, entry))},))")
            else:
                number, end, starts = entry
                pace, (first, now) = starts.func.__self__.slacks, starts.args
                lines.append(f"{at}.launches.add_train({number}, {end}, partial({pace}.starts, {first}, {now}))")
    for to, (stream, ready, end) in symbolic.engines.items():
        if ready is not NEVER:
            lines.append(f"{engines}[{to!r}] = {script.keep(real.streams[stream.name])}, {ready}, {end}")
    for event, fired in symbolic.events.items():
        lines.append(f"{script.keep(real.events)}[{script.keep(event)}] = {fired}")
    for field in ("ready", "busy_until", "free_from"):
        if getattr(symbolic, field) is not NEVER:
            lines.append(f"{device}.{field} = {getattr(symbolic, field)}")
    lines += [f"step.mark = {step.mark}", f"{me}.now = {writer.now}", "return True"]
    script.lines = [f"now = {me}.now", f"if {' or '.join(guards)}: return False", *loads, *calls, *lines]
