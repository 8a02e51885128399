"""The spans of several iterations composed: written as forms once, then as numbers for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.fast.pace import Pace
from sim.fast.spans import CALL, KERNEL, SpanWriter
from sim.timeline.spans import FIELDS, Column, Kind, Recorder

Values = Callable[[Any], Column]
"""What a form amounts to in each iteration."""


@dataclass(frozen=True, eq=False, slots=True)
class _Rows:
    """Spans that one entry writes in each iteration; ``correlation`` and ``step`` count from the iteration's first.

    ``times`` gives their starts and ends, spans by iterations.
    """

    track: int
    kind: int
    names: Any
    count: int
    correlation: Any
    step: int | None
    times: Callable[[Values], tuple[Column, Column]]


class ComposedSpans(SpanWriter):
    """A writer for one iteration whose times are forms. A step of None belongs to no step."""

    def __init__(self, recorder: Recorder, track: int, *, kept: bool) -> None:
        super().__init__(recorder, track, kept=kept)
        self._rows_of_one: list[_Rows] = []
        self._calls = 0

    def _one(self, track: int, start: Any, end: Any, kind: int, name: str, correlation: int, step: int | None) -> None:
        def times(values: Values) -> tuple[Column, Column]:
            return values(start)[np.newaxis], values(end)[np.newaxis]

        self._rows_of_one.append(_Rows(track, kind, self.recorder.name(name), 1, correlation, step, times))

    def host(self, start: Any, end: Any, kind: Kind, name: str, step: int | None = None) -> None:
        """Work or a wait of the host thread."""
        if self.kept:
            self._one(self._track, start, end, kind, name, 0, step)

    def call(self, start: Any, end: Any, name: str, step: int) -> None:
        """A call that enqueues; what it launched is written next."""
        if self.kept:
            self._calls += 1
            self._one(self._track, start, end, CALL, name, self._calls, step)

    def _launched(self, track: int, start: Any, end: Any, kind: Kind, name: str, step: int) -> None:
        if self.kept:
            self._one(track, start, end, kind, name, self._calls, step)

    def graph(self, track: int, start: Any, ns: Column, names: Column, gap: int, step: int) -> None:
        """The kernels of the graph that the last call launched; ``ns`` is kernels by iterations."""
        count = len(ns)

        def times(values: Values) -> tuple[Column, Column]:
            ends = np.cumsum(ns, axis=0) + gap * np.arange(count)[:, np.newaxis] + values(start)
            return ends - ns, ends

        self._rows_of_one.append(_Rows(track, KERNEL, names, count, self._calls, step, times))

    def train(
        self, track: int, begin: Any, returns: Column, pace: Pace, first: Any, ns: Column, names: Column, step: int
    ) -> None:
        """Kernels launched one after the other, and their calls."""
        if not self.kept:
            return
        count = len(names)
        numbers = np.arange(self._calls + 1, self._calls + 1 + count)
        self._calls += count

        def calls(values: Values) -> tuple[Column, Column]:
            ends = returns[:, np.newaxis] + values(begin)
            return np.concatenate([values(begin)[np.newaxis], ends[:-1]]), ends

        def kernels(values: Values) -> tuple[Column, Column]:
            starts = pace.starts(values(first), values(begin))
            return starts, starts + ns

        self._rows_of_one.append(_Rows(self._track, CALL, self._launch, count, numbers, step, calls))
        self._rows_of_one.append(_Rows(track, KERNEL, names, count, numbers, step, kernels))

    def write(self, recorder: Recorder, values: Values, steps: int, index: int) -> None:
        """Append the spans of the first so many iterations, the first of which launches step ``index``."""
        if not self._rows_of_one:
            return
        correlations = recorder.correlate(self._calls * steps) - 1 + self._calls * np.arange(steps)
        indices = index + np.arange(steps)
        spans = sum(rows.count for rows in self._rows_of_one)

        def write(flat: Column) -> None:
            known: dict[int, Column] = {}

            def once(form: Any) -> Column:
                """One call's end is the next one's start."""
                found = known.get(id(form))
                if found is None:
                    found = known[id(form)] = values(form)
                return found

            table = flat.reshape(steps, spans, len(FIELDS))
            low = 0
            for rows in self._rows_of_one:
                part = table[:, low : low + rows.count]
                low += rows.count
                starts, ends = rows.times(once)
                part[:, :, 0] = rows.track
                part[:, :, 1] = starts.T[:steps]
                part[:, :, 2] = ends.T[:steps]
                part[:, :, 3] = rows.kind
                part[:, :, 4] = rows.names
                called = np.ndim(rows.correlation) or rows.correlation
                part[:, :, 5] = rows.correlation + correlations[:, np.newaxis] if called else 0
                part[:, :, 6] = -1 if rows.step is None else (indices + rows.step)[:, np.newaxis]

        recorder.later(steps * spans, write)
