"""Calls on a device whose times have names: they write down the code that does the same to numbers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from sim.effects import Step
from sim.fast.caller import Caller
from sim.fast.device import Blind, Device, Stream
from sim.fast.launch_queue import NEVER, Endless
from sim.fast.pace import Pace
from sim.fast.plan import Plan
from sim.fast.script import Script, Time
from sim.fast.script_spans import ScriptSpans
from sim.fast.segments import Filled, Train
from sim.program.constants import Constants
from sim.timeline.spans import Column, Recorder


class Queue(Endless):
    """What enters a launch queue that cannot fill: starts of launches one by one, and trains."""

    __slots__ = ("entered",)

    def __init__(self) -> None:
        super().__init__(0)
        self.entered: list[list[Any] | tuple[int, Any, Any]] = []

    def add(self, start: Any) -> None:
        """One launch and its start."""
        self.count += 1
        if not self.entered or not isinstance(self.entered[-1], list):
            self.entered.append([])
        self.entered[-1].append(start)  # type: ignore[union-attr]

    def add_train(self, launches: int, last: Any, starts: Any) -> None:
        """Launches one after the other."""
        self.count += launches
        self.entered.append((launches, last, starts))


class _Events(dict[Hashable, Any]):
    """Events as they were before the calls, and as these leave them."""

    def __init__(self, script: Script, real: dict[Hashable, int]) -> None:
        super().__init__()
        self._script = script
        self._real = real
        self.loaded: dict[Hashable, Time] = {}
        self.absent: set[Hashable] = set()

    def get(self, event: Hashable, default: Any = None) -> Any:
        if event in self:
            return super().get(event, default)
        if event not in self._real:
            self.absent.add(event)
            return default
        if event not in self.loaded:
            at = f"{self._script.keep(self._real)}[{self._script.keep(event)}]"
            self.loaded[event] = self._script.loaded(at)
        return self.loaded[event]


class _Prices(Filled):
    """Durations by name, and paces of trains, which are computed as the code runs."""

    __slots__ = ("_script",)

    def __init__(self, script: Script, prices: Sequence[Time]) -> None:
        super().__init__(prices)
        self._script = script

    @property
    def column(self) -> Any:
        """The same as an array, whose parts are taken as the code runs."""
        return _Parts(self._script)

    def pace(self, train: Train, constants: Constants) -> Pace:
        script = self._script
        pace = script.named(f"{script.keep(train)}.paced(ns, {script.keep(constants)})")
        fields: Any = [Time(script, (f"{pace}.{field}",)) for field in ("first", "slack", "before", "last")]
        return Pace(len(train.at), *fields, pace, pace)  # type: ignore[call-arg]


class _Parts:
    """An array of durations of which parts are taken by name."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def __getitem__(self, at: Column) -> Time:
        return self._script.named(f"{self._script.keep(Filled)}(ns).column[{self._script.keep(at)}]")


class _Device(Blind):
    """A device whose times have names."""

    def __init__(self, script: Script, real: Device) -> None:
        super().__init__(real.constants, Recorder(), real.launched)
        self.later = script.later
        self.recorded = _Events(script, real.events)
        self.events = self.recorded
        for name, other in real.streams.items():
            stream = self.streams[name] = Stream(name, other.track, 0)
            at = script.keep(other)
            stream.free_at, stream.floor = script.loaded(f"{at}.free_at"), script.loaded(f"{at}.floor")  # type: ignore[assignment]
            stream.replayed = other.replayed
            stream.launches = Queue()
        for direction, (other, _, _) in real.engines.items():
            end: Any = script.loaded(f"{script.keep(real.engines)}[{direction!r}][2]")
            self.engines[direction] = self.streams[other.name], NEVER, end
        self.last = None if real.last is None else self.streams[real.last.name]


class Trace:
    """Calls on a device like the real one, whose times have names; raises ``OutsideError`` for a choice in them.

    ``now`` is the host thread's clock.
    """

    def __init__(self, caller: Caller) -> None:
        self.script = Script()
        self._real = caller.device
        self.device = _Device(self.script, caller.device)
        self._caller = Caller(caller.costs, self.device, ScriptSpans(self.script, caller.spans), None)
        self._caller.now = Time(self.script, ("now",))  # type: ignore[assignment]
        streams = self.device.streams.items()
        self._before = {name: (stream.free_at, stream.floor) for name, stream in streams}
        self._ends = {to: end for to, (_, _, end) in self.device.engines.items()}

    @property
    def now(self) -> Any:
        """The host thread's clock."""
        return self._caller.now

    @now.setter
    def now(self, now: Any) -> None:
        self._caller.now = now

    def launch(self, plan: Plan, prices: Sequence[Time] | Filled) -> Any:
        """Launch a step by a plan, whose operations take this long, by name or as they always do; returns its mark."""
        step = Step(0)
        filled = prices if isinstance(prices, Filled) else _Prices(self.script, prices)
        for name, segments in plan:
            stream = self.device.streams[name]
            for segment in segments:
                segment.make(self._caller, stream, filled, step)
        return step.mark

    def queue(self, name: str) -> Queue:
        """The launches on a stream."""
        launches = self.device.streams[name].launches
        assert isinstance(launches, Queue)
        return launches

    @property
    def otherwise(self) -> list[str]:
        """Conditions under which the code may not be used, but for full queues: the device is not as it was."""
        real, keep = self._real, self.script.keep
        last = "None" if real.last is None else keep(real.last)
        found = [f"{keep(real)}.last is not {last}"]
        found += [f"{keep(stream)}.replayed is not {stream.replayed}" for stream in real.streams.values()]
        engines = keep(real.engines)
        found += [f"{keep(event)} in {keep(real.events)}" for event in self.device.recorded.absent]
        found += [f"{engines}[{to!r}][0] is not {keep(stream)}" for to, (stream, _, _) in real.engines.items()]
        return found

    @property
    def carried(self) -> list[tuple[Any, Any]]:
        """What was loaded of the device, and what the calls have made of it."""
        device = self.device
        pairs: list[tuple[Any, Any]] = []
        for name, stream in device.streams.items():
            pairs += zip(self._before[name], (stream.free_at, stream.floor), strict=True)
        pairs += [(self._ends[to], end) for to, (_, _, end) in device.engines.items() if to in self._ends]
        pairs += [
            (old, device.events[event]) for event, old in device.recorded.loaded.items() if event in device.events
        ]
        return [(old, new) for old, new in pairs if old is not new]

    def left(self, *, settled: bool = False) -> list[str]:
        """Statements that leave the real device as the calls have left this one, but for the queues.

        With ``settled`` they name nothing that is ``carried``.
        """
        real, device, keep = self._real, self.device, self.script.keep
        text = self.settled if settled else str
        lines: list[str] = []
        for name, stream in device.streams.items():
            at = keep(real.streams[name])
            for field, old in zip(("free_at", "floor"), self._before[name], strict=True):
                if (new := getattr(stream, field)) is not old:
                    lines.append(f"{at}.{field} = {text(new)}")
            if stream.replayed != real.streams[name].replayed:
                lines.append(f"{at}.replayed = {stream.replayed}")
        engines = keep(real.engines)
        for to, (stream, ready, end) in device.engines.items():
            if ready is not NEVER:
                lines.append(f"{engines}[{to!r}] = {keep(real.streams[stream.name])}, {text(ready)}, {text(end)}")
        lines += [f"{keep(real.events)}[{keep(event)}] = {text(fired)}" for event, fired in device.events.items()]
        for field in ("ready", "busy_until", "free_from"):
            if getattr(device, field) is not NEVER:
                lines.append(f"{keep(real)}.{field} = {text(getattr(device, field))}")
        return lines

    def settled(self, time: Any) -> str:
        """A name that belongs to the statements, not to what was before them."""
        return str(time) if isinstance(time, int) or self.script.made(time) else str(self.script.copied(time))

    def entered(self, name: str) -> list[str]:
        """Statements that put the launches on a stream into the real one's queue."""
        launches = f"{self.script.keep(self._real.streams[name])}.launches"
        lines: list[str] = []
        for entry in self.queue(name).entered:
            if isinstance(entry, list):
                lines.append(f"{launches}.add_all(({', '.join(map(str, entry))},))")
            else:
                number, end, starts = entry
                pace, (first, now) = starts.func.__self__, starts.args
                pace = pace.slacks if isinstance(pace.slacks, Time) else self.script.keep(pace)
                lines.append(f"{launches}.add_train({number}, {end}, partial({pace}.starts, {first}, {now}))")
        return lines
