"""Where a step's time goes, mode by mode and against one varied key: a table, and what overlap and graphs gain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scenarios.loader import LoadedScenario
from sim.studies.program import program_metrics, run_program
from sim.studies.results import Results
from sim.studies.sweep.axes import Axis
from sim.studies.table import time
from sim.studies.validation.shipped import MeasuredScenario, measured_scenario
from sim.studies.why import PAYS
from sim.timeline.metrics import HOST_PARTS

GRAIN = 64
"""The step of sizes at which the end of a program's gain is sought: sizes between its multiples run other kernels."""
PAIRS = (("overlap", "serial-eager", "overlap-eager"), ("overlap", "serial-graph", "overlap-graph"))


@dataclass(frozen=True, slots=True)
class Point:
    """One value of the varied key ("" without one), the run's numbers, and what was measured of it before."""

    value: str
    results: Results
    hardware: MeasuredScenario | None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """All points of a breakdown in their order; ``load`` loads the scenario with one more override."""

    key: str
    points: tuple[Point, ...]
    load: Callable[[str], LoadedScenario]

    @classmethod
    def of(
        cls, load: Callable[[str], LoadedScenario], axis: Axis | None, run: Callable[[LoadedScenario], Results]
    ) -> Breakdown:
        """Run the scenario at every value; raises ``ScenarioError`` before any run for a value that is none."""
        key, values = ("", ("",)) if axis is None else (axis.key, axis.values)
        loaded = {value: load(f"{key}={value}" if key else "") for value in values}
        points = tuple(Point(value, run(one), measured_scenario(one)) for value, one in loaded.items())
        return cls(key, points, load)

    @property
    def is_program(self) -> bool:
        """Whether there is no server in it."""
        return self.points[0].results.loaded.scenario.kind != "serving"

    def as_json(self) -> dict[str, Any]:
        """One object with ``key``, ``points`` and ``findings``; times in microseconds."""
        points = [
            {
                "value": point.value,
                "modes": point.results.modes,
                "measured": {
                    mode: {"us": round(found.us, 3), "noise_us": round(found.noise_us, 3), "host_us": found.host_us}
                    for mode, found in (point.hardware.modes if point.hardware else {}).items()
                },
            }
            for point in self.points
        ]
        return {"key": self.key, "points": points, "findings": list(self.findings())}

    def findings(self) -> Iterator[str]:
        """What overlap gains at each value; of a program, the size at which graphs stop paying."""
        if self.is_program:
            yield from self._end_of_gain()
            return
        for what, without, with_it in PAIRS:
            gains = [
                (point.value, modes[without]["step_us"] / modes[with_it]["step_us"])
                for point in self.points
                if {without, with_it} <= (modes := point.results.modes).keys()
            ]
            if gains:
                told = ", ".join(f"{gain:.2f}x" + (f" at {value}" if value else "") for value, gain in gains)
                yield f"{with_it} over {without}, what {what} gains: {told}"

    def _end_of_gain(self) -> Iterator[str]:
        if self.points[0].results.measured is not None:
            return
        pays = [
            (int(point.value), point.results.modes["graph"]["speedup"] >= PAYS)
            for point in self.points
            if point.value.isdigit() and "graph" in point.results.modes
        ]
        if len(pays) < len(self.points):
            return
        for (low, gained), (high, gains) in pairwise(pays):
            if gained and not gains:
                last = self._last_that_pays(low, high)
                yield f"the graph gains 1 % or more up to {self.key}={last}, and less from {self.key}={last + GRAIN} on"
                return
        yield f"the graph {'gains' if pays[-1][1] else 'does not gain'} 1 % or more at {self.key}={pays[-1][0]}"

    def _last_that_pays(self, low: int, high: int) -> int:
        while high - low > GRAIN:
            middle = (low + high) // (2 * GRAIN) * GRAIN
            loaded = self.load(f"{self.key}={middle}")
            eager, graph = (program_metrics(run_program(loaded, mode)).total_ns for mode in ("eager", "graph"))
            low, high = (middle, high) if eager >= PAYS * graph else (low, middle)
        return low


def print_breakdown(console: Console, breakdown: Breakdown) -> None:
    """The table, a line a value and mode, and the findings under it."""
    parts = HOST_PARTS[:-1]
    first = breakdown.points[0].results
    console.print(Text(first.loaded.scenario.title, style="bold"))
    table = Table(box=None, header_style="bold", pad_edge=False)
    columns = ("total", "host", "device") if breakdown.is_program else ("step", *parts, "device", "exposed")
    measured = any(point.hardware for point in breakdown.points)
    for name in ([breakdown.key] if breakdown.key else []) + ["mode"]:
        table.add_column(name, no_wrap=True)
    for name in (columns[0], *(["measured"] if measured else []), *columns[1:], "speedup"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in breakdown.points:
        for number, (mode, found) in enumerate(point.results.modes.items()):
            value = [point.value if number == 0 else ""] if breakdown.key else []
            times = _program_times(found) if breakdown.is_program else _step_times(found, parts)
            hardware = point.hardware.modes.get(mode) if point.hardware else None
            beside = [time(hardware.us) if hardware else "-"] if measured else []
            table.add_row(*value, mode, times[0], *beside, *times[1:], f"{found['speedup']:.2f}x")
    console.print(table)
    sources = dict.fromkeys(point.hardware.source for point in breakdown.points if point.hardware)
    for line in (*sources, *breakdown.findings()):
        console.print(line, soft_wrap=True)


def _step_times(found: dict[str, Any], parts: Sequence[str]) -> list[str]:
    busy, step = found["device_busy"], found["step_us"]
    device = None if busy is None else busy * step
    return [time(us) for us in (step, *(found["host"][part] for part in parts), device, found["exposed_host_us"])]


def _program_times(found: dict[str, Any]) -> list[str]:
    return [time(found[key]) for key in ("total_us", "host_us", "device_us")]
