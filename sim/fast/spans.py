"""How the fast machine writes spans: whole trains and graphs at once, or not at all."""

from __future__ import annotations

import numpy as np

from sim.fast.pace import Pace
from sim.program.ops import Copy
from sim.timeline.spans import FIELDS, Column, Kind, Recorder

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
        rows = self._rows(len(ns), step)
        rows[:, 0] = track
        rows[:, 2] = np.cumsum(ns)
        rows[:, 2] += np.arange(start, start + gap * len(ns), gap) if gap else start
        rows[:, 1] = rows[:, 2] - ns
        rows[:, 3] = KERNEL
        rows[:, 4] = names
        rows[:, 5] = self._correlation
        self.recorder.add(rows)

    def train(
        self, track: int, begin: int, returns: Column, pace: Pace, first: int, ns: Column, names: Column, step: int
    ) -> None:
        """Kernels launched one after the other by calls from ``begin`` on; the first kernel starts at ``first``."""
        if not self.kept:
            return
        starts, returns = pace.starts(first, begin), returns + begin
        count = len(ns)
        first = self.recorder.correlate(count)
        calls, kernels = self._rows(count, step), self._rows(count, step)
        calls[:, 0] = self._track
        calls[0, 1] = begin
        calls[1:, 1] = returns[:-1]
        calls[:, 2] = returns
        calls[:, 3] = CALL
        calls[:, 4] = self._launch
        kernels[:, 0] = track
        kernels[:, 1] = starts
        kernels[:, 2] = starts + ns
        kernels[:, 3] = KERNEL
        kernels[:, 4] = names
        calls[:, 5] = kernels[:, 5] = np.arange(first, first + count)
        self.recorder.add(calls)
        self.recorder.add(kernels)

    @staticmethod
    def _rows(count: int, step: int) -> Column:
        rows = np.empty((count, len(FIELDS)), dtype=np.int64)
        rows[:, 6] = step
        return rows
