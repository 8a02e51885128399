"""Timing every launch of a run by its kind, and telling what the host did around them. Times are nanoseconds."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from statistics import fmean, median

import numpy as np

from gpu.calibration.clock import cycles, sleep
from gpu.model.ops import Call
from sim.timeline.metrics import steady
from sim.timeline.spans import FIELDS, Timeline

WORK = ("receive", "schedule", "prepare", "process")
clock: Callable[[], int] = time.perf_counter_ns


class Stopwatch:
    """Times every launch by its kind, in nanoseconds; the clock's own time is taken off.

    With ``device_us`` the device is given that much to do in every step before it samples, a launch of kind "sleep".
    """

    def __init__(self, *, device_us: float = 0.0) -> None:
        self.times: dict[str, list[int]] = defaultdict(list)
        self.launches: list[tuple[int, int, str]] = []
        self._own = min(_stamped(int) for _ in range(200))
        self._busy: Call | None = None
        self._watching = min(self._watched() for _ in range(5))
        self.times.clear()
        self.launches.clear()
        if device_us:
            self._busy = self.wrap("sleep", partial(sleep, cycles(device_us)))

    def wrap(self, kind: str, call: Call) -> Call:
        """The same launch, timed."""
        times, launches, own = self.times[kind], self.launches, self._own
        busy = self._busy if kind == "argmax" else None

        def timed() -> None:
            if busy is not None:
                busy()
            start = clock()
            call()
            took = clock() - start - own
            times.append(took)
            launches.append((start, took, kind))

        return timed

    def _watched(self, calls: int = 200) -> int:
        """What being watched adds to a call."""
        nothing: Call = int
        timed = self.wrap("nothing", nothing)
        start = clock()
        for _ in range(calls):
            timed()
        watched = clock()
        for _ in range(calls):
            nothing()
        return max(0, round((2 * watched - start - clock()) / calls))

    def besides(self, spans: Iterable[tuple[int, int]]) -> list[int]:
        """What each of these spans of the clock (ns) took besides the launches in it, and besides watching them.

        Both are of the same step: a host that a neighbour slows down does not pass for work between the launches, as
        it would in the difference of two runs.
        """
        starts = np.array([start for start, _, _ in self.launches])
        sums = np.concatenate(([0], np.cumsum([took for _, took, _ in self.launches])))
        found = []
        for start, end in spans:
            first, last = np.searchsorted(starts, (start, end)).tolist()
            taken = int(sums[last] - sums[first]) + (last - first) * self._watching
            found.append(max(0, end - start - taken))
        return found

    def until(self, kind: str, spans: Iterable[tuple[int, int]]) -> list[int]:
        """How long after the start of each of these spans of the clock (ns) its first launch of a kind began."""
        starts = np.array([start for start, _, launched in self.launches if launched == kind])
        return [int(starts[np.searchsorted(starts, start)]) - start for start, _ in spans]

    def steps(self) -> list[dict[str, list[int]]]:
        """The launches of every step up to its sampling, by kind, each in order."""
        steps: list[dict[str, list[int]]] = [defaultdict(list)]
        for _, took, kind in self.launches:
            steps[-1][kind].append(took)
            if kind == "argmax":
                steps.append(defaultdict(list))
        return steps[:-1]

    def later(self, kind: str) -> list[int]:
        """The launches of a kind but for the first in each step; all of one that a step launches once."""
        times, a_step = self.times[kind], self._in_a_step(kind)
        return [ns for i, ns in enumerate(times) if i % a_step] if a_step > 1 else times

    def beyond_later(self, kind: str) -> int:
        """What the first launch of a kind takes beyond the later ones of its step; 0 of one that has none."""
        times, a_step = self.times[kind], self._in_a_step(kind)
        return typical(times[::a_step]) - typical(self.later(kind)) if a_step > 1 else 0

    def _in_a_step(self, kind: str) -> int:
        return len(self.times[kind]) // len(self.times["argmax"])


def _stamped(call: Call) -> int:
    start = clock()
    call()
    return clock() - start


def typical(times: list[int]) -> int:
    """The mean without the slowest hundredth, which are interruptions."""
    kept = sorted(times)[: max(1, len(times) - max(1, len(times) // 100))]
    return round(fmean(kept))


@dataclass(frozen=True, slots=True)
class Steady:
    """What the host did in the steady steps of a run: beginnings and ends of its spans on the clock, by name.

    ``between`` is what a step takes besides all of them.
    """

    spans: dict[str, list[tuple[int, int]]]
    between: int

    @classmethod
    def of(cls, timeline: Timeline) -> Steady:
        """Of a closed batch that decodes."""
        bounds = steady(timeline.deliveries)
        start, end, steps = bounds[0].time, bounds[-1].time, len(bounds) - 1
        spans = {name: _spans(timeline, name, start, end) for name in (*WORK, "launch", "cudaEventSynchronize")}
        between = end - start - sum(stop - begin for every in spans.values() for begin, stop in every)
        return cls(spans, max(0, between) // steps)

    def work(self, watch: Stopwatch) -> dict[str, int]:
        """The scheduler's work in a step: all of it that is neither a launch nor a wait."""
        found = self._named(watch)
        found["prepare"] += round(median(watch.besides(self.spans["launch"])))
        return found

    def around(self, watch: Stopwatch, first: str) -> int:
        """What a step takes the host up to the first launch of its forward pass, of this kind, waits left out."""
        return sum(self._named(watch).values()) + round(median(watch.until(first, self.spans["launch"])))

    def _named(self, watch: Stopwatch) -> dict[str, int]:
        """The scheduler's work outside of launching."""
        found = {name: typical([stop - begin for begin, stop in self.spans[name]]) for name in WORK}
        found["process"] += typical(watch.times["fetch"]) + self.between
        return found


def _spans(timeline: Timeline, name: str, start: int, end: int) -> list[tuple[int, int]]:
    """Beginnings and ends on the clock of the spans of this name that lie within a time of the run."""
    rows = timeline.table[timeline.column("name") == timeline.names.index(name)].tolist()
    begin, stop = FIELDS.index("start"), FIELDS.index("end")
    inside = [(row[begin], row[stop]) for row in rows if row[begin] >= start and row[stop] <= end]
    return [(begin + timeline.origin, stop + timeline.origin) for begin, stop in inside]
