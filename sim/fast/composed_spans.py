"""The spans of several iterations composed: written as forms once, then as numbers for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.fast.pace import Pace
from sim.fast.spans import CALL, KERNEL, SpanWriter
from sim.timeline.spans import FIELDS, Column, Kind, Recorder

Form = Any
Values = Callable[[Sequence[Form]], Column]
"""What forms amount to: forms by iterations."""
TRACK, START, END, KIND, NAME, CORRELATION, STEP = range(len(FIELDS))
NO_STEP = -(1 << 40)
"""Far before any step."""


@dataclass(frozen=True, eq=False, slots=True)
class _Many:
    """Spans of kernels or calls from place ``low`` of an iteration on; ``numbers`` count from its first correlation.

    ``times`` takes what its forms amount to and puts starts and ends into columns of iterations by spans.
    """

    low: int
    track: int
    kind: int
    names: Any
    count: int
    numbers: Any
    step: int
    forms: tuple[Form, ...]
    times: Callable[[Column, Column, Column], None]


class ComposedSpans(SpanWriter):
    """A writer for one iteration whose times are forms. A step of None belongs to no step."""

    def __init__(self, recorder: Recorder, track: int, *, kept: bool) -> None:
        super().__init__(recorder, track, kept=kept)
        self._many: list[_Many] = []
        self._places: list[int] = []
        self._single: list[tuple[int, int, int, int, int]] = []
        self._starts: list[Form] = []
        self._ends: list[Form] = []
        self._spans = 0
        self._calls = 0

    def _one(self, track: int, start: Form, end: Form, kind: int, name: str, number: int, step: int | None) -> None:
        self._places.append(self._spans)
        self._single.append((track, kind, self.recorder.name(name), number, NO_STEP if step is None else step))
        self._starts.append(start)
        self._ends.append(end)
        self._spans += 1

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

        def times(values: Column, starts: Column, ends: Column) -> None:
            each = ns.T[: len(starts)]
            np.cumsum(each, axis=1, out=ends)
            ends += values[0][: len(starts), np.newaxis] + gap * np.arange(count)
            np.subtract(ends, each, out=starts)

        self._several(_Many(self._spans, track, KERNEL, names, count, self._calls, step, (start,), times))

    def train(
        self, track: int, begin: Any, returns: Column, pace: Pace, first: Any, ns: Column, names: Column, step: int
    ) -> None:
        """Kernels launched one after the other, and their calls."""
        if not self.kept:
            return
        count = len(names)
        numbers = np.arange(self._calls + 1, self._calls + 1 + count)
        self._calls += count

        def calls(values: Column, starts: Column, ends: Column) -> None:
            np.add(values[0][: len(starts), np.newaxis], returns, out=ends)
            starts[:, 0] = values[0][: len(starts)]
            starts[:, 1:] = ends[:, :-1]

        def kernels(values: Column, starts: Column, ends: Column) -> None:
            steps = len(starts)
            starts[:] = pace.starts(values[1], values[0])[:, :steps].T
            np.add(starts, ns.T[:steps], out=ends)

        self._several(_Many(self._spans, self._track, CALL, self._launch, count, numbers, step, (begin,), calls))
        self._several(_Many(self._spans, track, KERNEL, names, count, numbers, step, (begin, first), kernels))

    def _several(self, many: _Many) -> None:
        self._many.append(many)
        self._spans += many.count

    def write(self, recorder: Recorder, values: Values, steps: int, index: int) -> None:
        """Append the spans of the first so many iterations, the first of which launches step ``index``."""
        if not self._spans:
            return
        before = recorder.correlate(self._calls * steps) - 1 + self._calls * np.arange(steps)[:, np.newaxis]
        indices = index + np.arange(steps)[:, np.newaxis]

        def write(rows: Column) -> None:
            table = rows.reshape(steps, self._spans, len(FIELDS))
            self._write_single(table, values, before, indices)
            for many in self._many:
                part = table[:, many.low : many.low + many.count]
                many.times(values(many.forms), part[:, :, START], part[:, :, END])
                part[:, :, TRACK] = many.track
                part[:, :, KIND] = many.kind
                part[:, :, NAME] = many.names
                part[:, :, CORRELATION] = many.numbers + before
                part[:, :, STEP] = indices + many.step

        recorder.later(steps * self._spans, write)

    def _write_single(self, table: Column, values: Values, before: Column, indices: Column) -> None:
        """The spans that are written one by one in an iteration, all at once for all iterations."""
        forms = {id(form): form for form in (*self._starts, *self._ends)}  # one call's end is the next one's start
        number = {key: i for i, key in enumerate(forms)}
        found = values(list(forms.values()))[:, : len(table)]
        places = np.array(self._places)
        tracks, kinds, names, numbers, steps = np.array(self._single, dtype=np.int64).T
        columns = {
            TRACK: tracks,
            START: found[[number[id(form)] for form in self._starts]].T,
            END: found[[number[id(form)] for form in self._ends]].T,
            KIND: kinds,
            NAME: names,
            CORRELATION: np.where(numbers > 0, numbers + before, 0),
            STEP: np.maximum(steps + indices, -1),
        }
        for field, column in columns.items():
            table[:, places, field] = column
