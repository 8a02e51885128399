"""How the fast machine writes spans: trains and graphs as a whole, and only once somebody reads them, or not at all."""

from __future__ import annotations

import numpy as np

from sim.fast.pace import Pace
from sim.program.ops import Copy
from sim.timeline.spans import Column, Kind, Recorder

KERNEL, CALL = int(Kind.KERNEL), int(Kind.CALL)


class SpanWriter:
    """Appends the spans of one host thread and its streams, unless they are not ``kept``."""

    def __init__(self, recorder: Recorder, track: int, *, kept: bool) -> None:
        self.recorder = recorder
        self.kept = kept
        self._track = track
        self._launch = recorder.name("cudaLaunchKernel")
        self._correlation = 0

    @property
    def track(self) -> int:
        """The host thread's row of the timeline."""
        return self._track

    def host(self, start: int, end: int, kind: Kind, name: str, step: int = -1) -> None:
        """Work, a wait or idling of the host thread."""
        if self.kept:
            self.recorder.span(self._track, start, end, kind, self.recorder.name(name), 0, step)

    def call(self, start: int, end: int, name: str, step: int) -> None:
        """A call that enqueues; what it launched is written next."""
        if self.kept:
            self._correlation = self.recorder.correlate()
            number = self.recorder.name(name)
            self.recorder.span(self._track, start, end, CALL, number, self._correlation, step)

    def kernel(self, track: int, start: int, end: int, name: str, step: int) -> None:
        """The kernel that the last call launched."""
        self._launched(track, start, end, Kind.KERNEL, name, step)

    def copy(self, track: int, start: int, end: int, op: Copy, step: int) -> None:
        """The copy that the last call launched."""
        kind = f"Memcpy {'HtoD' if op.direction == 'h2d' else 'DtoH'} ({'Pinned' if op.pinned else 'Pageable'})"
        self._launched(track, start, end, Kind.MEMCPY, kind, step)

    def _launched(self, track: int, start: int, end: int, kind: Kind, name: str, step: int) -> None:
        if self.kept:
            self.recorder.span(track, start, end, kind, self.recorder.name(name), self._correlation, step)

    def graph(self, track: int, start: int, ns: Column, names: Column, gap: int, step: int) -> None:
        """The kernels of the graph that the last call launched."""
        correlation = self._correlation

        def write(rows: Column) -> None:
            ends = np.cumsum(ns)
            ends += np.arange(start, start + gap * len(ns), gap) if gap else start
            _fill(rows, track, ends - ns, ends, KERNEL, names, correlation, step)

        self.recorder.later(len(ns), write)

    def train(
        self, track: int, begin: int, returns: Column, pace: Pace, first: int, ns: Column, names: Column, step: int
    ) -> None:
        """Kernels launched one after the other by calls from ``begin`` on; the first kernel starts at ``first``."""
        if not self.kept:
            return
        count = len(names)
        number = self.recorder.correlate(count)

        def write(rows: Column) -> None:
            correlations = np.arange(number, number + count)
            calls, kernels = rows[:count], rows[count:]
            ends = returns + begin
            starts = np.concatenate([[begin], ends[:-1]])
            _fill(calls, self._track, starts, ends, CALL, self._launch, correlations, step)
            starts = pace.starts(first, begin)
            _fill(kernels, track, starts, starts + ns, KERNEL, names, correlations, step)

        self.recorder.later(2 * count, write)


def _fill(
    rows: Column, track: int, starts: Column, ends: Column, kind: int, names: Column | int,
    correlations: Column | int, step: int,
) -> None:  # fmt: skip
    """Put columns into rows."""
    for column, values in enumerate((track, starts, ends, kind, names, correlations, step)):
        rows[:, column] = values
