"""How the fast machine writes spans: trains and graphs as a whole, and only once somebody reads them, or not at all."""

from __future__ import annotations

from array import array

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
        self._trains: _Trains | None = None

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
        trains, count = self._trains, len(names)
        number = self.recorder.correlate(count)
        if trains is None or trains.pace is not pace or not self.recorder.goes_on(2 * count, trains):
            trains = self._trains = _Trains(self._track, track, self._launch, returns, pace, ns, names, number)
            self.recorder.later(2 * count, trains)
        trains.add((begin, first, step))


class _Trains:
    """Trains of the same pace, one after the other; ``number`` is the correlation of the first kernel of all.

    ``add`` takes of each when it begins, when its first kernel does, and its step.
    """

    __slots__ = ("_each", "_launch", "_names", "_ns", "_number", "_returns", "_thread", "_track", "add", "pace")

    def __init__(
        self, thread: int, track: int, launch: int, returns: Column, pace: Pace, ns: Column, names: Column, number: int
    ) -> None:
        self.pace = pace
        self._thread = thread
        self._track = track
        self._launch = launch
        self._returns = returns
        self._ns = ns
        self._names = names
        self._number = number
        self._each = array("q")
        self.add = self._each.extend

    def __call__(self, rows: Column) -> None:
        """Write the spans of all: of each train its calls and then its kernels."""
        count = len(self._names)
        begins, firsts, steps = np.frombuffer(self._each, dtype=np.int64).reshape(-1, 3, 1).transpose(1, 0, 2)
        spans = rows.reshape(len(begins), 2, count, -1)
        correlations = np.arange(self._number, self._number + len(begins) * count).reshape(-1, count)
        calls, kernels = spans[:, 0], spans[:, 1]
        ends = calls[:, :, 2]
        np.add(self._returns, begins, out=ends)
        _fill(calls, self._thread, begins, ends, CALL, self._launch, correlations, steps)
        calls[:, 1:, 1] = ends[:, :-1]
        starts = self.pace.starts(firsts, begins, out=kernels[:, :, 1])
        _fill(kernels, self._track, starts, starts + self._ns, KERNEL, self._names, correlations, steps)


def _fill(
    rows: Column, track: int, starts: Column, ends: Column, kind: int, names: Column | int,
    correlations: Column | int, steps: Column | int,
) -> None:  # fmt: skip
    """Put columns into rows."""
    for column, values in enumerate((track, starts, ends, kind, names, correlations, steps)):
        rows[..., column] = values
