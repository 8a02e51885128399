"""Timelines as columns: every machine appends spans to a ``Recorder`` and hands out a ``Timeline``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from struct import Struct

import numpy as np
import numpy.typing as npt

from sim.serving.batch import Batch, Outputs
from sim.timeline.rows import Rows

Column = npt.NDArray[np.int64]
Write = Callable[[Column], None]
"""Puts spans into as many rows, their columns as in ``FIELDS``."""
FIELDS = ("track", "start", "end", "kind", "name", "correlation", "step")
HEAD = 4096
"""Spans among which almost all names of a run occur."""
_pack = Struct(f"={len(FIELDS)}q").pack  # the cheapest way to append to a column store, a quarter of array.extend


class Kind(IntEnum):
    """What a span is. The first three occupy the device; the others are a host thread's time."""

    KERNEL = 0
    MEMCPY = 1
    MEMSET = 2
    HOST = 3  # work of the server: receive, schedule, prepare, process
    CALL = 4  # a call of the CUDA runtime, the time it blocks on a full queue included
    WAIT = 5  # synchronize: until the event fires, and the wake-up after it
    NO_WORK = 6  # blocked until a request arrives


DEVICE_KINDS = (Kind.KERNEL, Kind.MEMCPY, Kind.MEMSET)


class Place(IntEnum):
    """What a track stands for."""

    HOST_THREAD = 0
    STREAM = 1


@dataclass(frozen=True, slots=True)
class Track:
    """A row of the timeline: a host thread or a stream of one rank's device."""

    name: str
    place: Place
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Served:
    """A request from arrival to its last token; times in nanoseconds, ``reason`` is why it ended.

    ``context`` are the tokens of its prompt, ``scheduled`` is when it was first given its blocks, ``delivery`` the
    place of its first token among all deliveries. A request that was preempted ``resumed``: each time the number of the
    token that came next, when, and by which delivery.
    """

    request: int
    arrival: int
    first: int
    last: int
    tokens: int
    reason: str
    context: int = 0
    scheduled: int = 0
    delivery: int = 0
    resumed: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Delivery:
    """One step's outputs reaching the clients.

    ``time`` is nanoseconds; ``rows`` counts the batch's rows but for prompts that go on in a later step, ``tokens``
    those that reached a client (a row that ran after its request had stopped delivers none); ``prefill`` tells a step
    that computed prompts. ``kv_blocks`` were in use while it ran, ``preempted`` requests had lost theirs before it, and
    ``cached`` prompt tokens did not have to be computed. ``decoded`` of the tokens came from rows that decode, the
    others end a prompt; ``padding`` rows ran only to fill the bucket.
    """

    time: int
    step: int
    rows: int
    tokens: int
    prefill: bool
    kv_blocks: int = 0
    preempted: int = 0
    cached: int = 0
    decoded: int = 0
    padding: int = 0


class Spans:
    """Names and rows of a timeline, made when they are first asked for."""

    __hash__ = None  # type: ignore[assignment]  # its table is an array

    def __init__(self, make: Callable[[], tuple[tuple[str, ...], Column]]) -> None:
        self._make = make

    @classmethod
    def of(cls, names: Sequence[str], table: Column) -> Spans:
        """Spans that are there already."""
        made = tuple(names), table
        return cls(lambda: made)

    @cached_property
    def made(self) -> tuple[tuple[str, ...], Column]:
        """Names, and the table whose column ``name`` counts them."""
        return self._make()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Spans):
            return NotImplemented
        return self.made[0] == other.made[0] and np.array_equal(self.made[1], other.made[1])


@dataclass(slots=True)
class _Later:
    """So many spans, and who writes them."""

    count: int
    write: Write


class Recorder:
    """Collects spans while a machine runs; appending is the machine's hot path.

    Spans that follow from few numbers can be written later, by whoever knows how: then a run keeps the numbers.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self.names: list[str] = []
        self.deliveries: Rows[Delivery] = Rows(Delivery)
        self.served: Rows[Served] = Rows(Served)
        self._scheduled: dict[int, int] = {}
        self._first: dict[int, tuple[int, int]] = {}
        self._resumed: dict[int, list[tuple[int, int, int]]] = {}
        self._ids: dict[str, int] = {}
        self._data = bytearray()
        self._parts: list[bytearray | _Later] = [self._data]
        self._late: _Later | None = None
        self._correlation = 0

    def track(self, name: str, place: Place, rank: int = 0) -> int:
        """Add a row to the timeline and return its number."""
        self.tracks.append(Track(name, place, rank))
        return len(self.tracks) - 1

    def name(self, text: str) -> int:
        """The number of a name, the same for equal texts."""
        number = self._ids.get(text)
        if number is None:
            number = self._ids[text] = len(self.names)
            self.names.append(text)
        return number

    def correlate(self, count: int = 1) -> int:
        """The first of ``count`` fresh correlation ids; one ties a launching call to what it launched."""
        self._correlation += count
        return self._correlation - count + 1

    def span(
        self, track: int, start: int, end: int, kind: int, name: int, correlation: int = 0, step: int = -1
    ) -> None:
        """Append one span; times in nanoseconds, ``correlation`` 0 for none, ``step`` -1 for none."""
        self._data += _pack(track, start, end, kind, name, correlation, step)

    def later(self, count: int, write: Write) -> None:
        """Append so many spans, which ``write`` will put into as many rows."""
        self._data, self._late = bytearray(), _Later(count, write)
        self._parts += [self._late, self._data]

    def goes_on(self, count: int, write: Write) -> bool:
        """Append so many spans to the last ones if ``write`` writes these: it will be called once for all."""
        late = self._late
        if late is None or late.write is not write or self._data:
            return False
        late.count += count
        return True

    def scheduled(self, batch: Batch, now: int) -> None:
        """Stamp the requests that a schedule has taken in; one that was preempted keeps its first stamp."""
        for request in batch.admitted:
            self._scheduled.setdefault(request.id, now)

    def emit(self, outputs: Outputs, now: int) -> None:
        """Stamp a step's outputs as they reach the clients."""
        batch, place = outputs.batch, len(self.deliveries)
        rows, prompts = batch.rows, batch.prompts
        self.deliveries.add(
            now, batch.index, rows - batch.partial if prompts else rows, outputs.tokens, bool(prompts),
            batch.kv_blocks, len(batch.preempted), batch.cached, rows - len(prompts) - outputs.late, batch.padding,
        )  # fmt: skip
        for request in outputs.first:
            self._first[request.id] = now, place
        for chunk in prompts:
            if chunk.output > 1:
                self._resumed.setdefault(chunk.request.id, []).append((chunk.output, now, place))
        for request, tokens, reason in outputs.finished:
            number, arrival = request.id, request.arrival
            first, delivery = self._first.pop(number)
            self.served.add(
                number, arrival, first, now, tokens, reason.value, request.context,
                self._scheduled.pop(number, arrival), delivery, tuple(self._resumed.pop(number, ())),
            )  # fmt: skip

    def timeline(self, origin: int = 0, machine: str = "reference") -> Timeline:
        """Everything recorded so far, sorted by start, then by track, then in the order of recording.

        Names are numbered as they come in that order, so that equal runs give equal tables however they recorded.
        """
        names, parts = tuple(self.names), tuple(self._parts)
        spans = Spans(lambda: _sorted(names, _written(parts)))
        return Timeline(tuple(self.tracks), spans, self.deliveries.copy(), self.served.copy(), origin, machine=machine)


def _written(parts: Sequence[bytearray | _Later]) -> Column:
    """The rows of all parts, one after the other, as a table whose columns are contiguous."""
    width = len(FIELDS)
    counts = [part.count if isinstance(part, _Later) else len(part) // (8 * width) for part in parts]
    table = np.empty((sum(counts), width), dtype=np.int64, order="F")
    low = 0
    for part, count in zip(parts, counts, strict=True):
        rows = table[low : low + count]
        if isinstance(part, _Later):
            part.write(rows)
        else:
            rows[:] = np.frombuffer(part, dtype=np.int64).reshape(-1, width)
        low += count
    return table


def _sorted(names: Sequence[str], written: Column) -> tuple[tuple[str, ...], Column]:
    tracks = int(written[:, 0].max(initial=0)) + 1
    order = np.argsort(written[:, 1] * tracks + written[:, 0], kind="stable")
    table = np.empty(written.shape, dtype=np.int64, order="F")
    for column, found in zip(written.T, table.T, strict=True):
        np.take(column, order, out=found, mode="clip")  # the mode that writes into ``out`` without a copy
    column = table[:, 4]
    first = _first(column, len(names))
    used = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(table))]
    number = np.zeros(len(names), dtype=np.int64)
    number[used] = np.arange(len(used))
    if not np.array_equal(used, np.arange(len(used))):
        table[:, 4] = number[column]
    return tuple(names[i] for i in used), table


def _first(numbers: Column, count: int) -> Column:
    """Where each number below ``count`` comes first, beyond the end for one that does not; most come early."""
    first = np.full(count, len(numbers))
    head = numbers[:HEAD]
    first[head[::-1]] = np.arange(len(head))[::-1]
    for number in np.flatnonzero(first == len(numbers)).tolist():
        found = numbers[HEAD:] == number
        if found.any():
            first[number] = HEAD + int(found.argmax())
    return first


@dataclass(frozen=True)
class Timeline:
    """Spans of host threads and streams, as an integer table whose columns, each contiguous, are ``FIELDS``.

    Times are nanoseconds from the start of the run. ``kind`` holds a ``Kind``, ``name`` an index into ``names``.
    A graph's kernels carry the correlation id of the one call that launched them. ``origin`` is what
    ``time.perf_counter_ns`` read at time 0 of a run in wall-clock time, and ``clock_error`` by how much (ns) spans of
    host and device may be shifted against each other, where two clocks were aligned. Of a simulation ``machine`` says
    who made it, and ``refusal`` why the fast machine did not.
    """

    tracks: tuple[Track, ...]
    spans: Spans = field(repr=False)
    deliveries: Sequence[Delivery] = field(default=(), repr=False)
    served: Sequence[Served] = field(default=(), repr=False)
    origin: int = 0
    clock_error: int = 0
    machine: str = "reference"
    refusal: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of spans, in the order in which they first occur."""
        return self.spans.made[0]

    @property
    def table(self) -> Column:
        """A row a span."""
        return self.spans.made[1]

    def column(self, name: str) -> Column:
        """One of ``FIELDS``; all columns share the order of the table."""
        column: Column = self.table[:, FIELDS.index(name)]
        return column

    @cached_property
    def on_device(self) -> npt.NDArray[np.bool_]:
        """Which spans occupy a device."""
        return self.column("kind") <= Kind.MEMSET

    @cached_property
    def launching(self) -> npt.NDArray[np.bool_]:
        """Which spans are calls that enqueue something."""
        launching: npt.NDArray[np.bool_] = (self.column("kind") == Kind.CALL) & (self.column("correlation") != 0)
        return launching

    def delivered(self, name: str) -> Column:
        """One field of all deliveries."""
        rows = self.deliveries if isinstance(self.deliveries, Rows) else Rows(Delivery, self.deliveries)
        return rows.column(name)

    def window(self, start: int, end: int) -> Timeline:
        """The spans that touch ``[start, end)``, uncut, and the deliveries inside it."""
        inside = (self.column("end") > start) & (self.column("start") < end)
        deliveries = tuple(d for d in self.deliveries if start <= d.time < end)
        return replace(self, spans=Spans.of(self.names, self.table[inside]), deliveries=deliveries)

    def on_track(self, name: str) -> Column:
        """Rows of the table that lie on the track of this name, in time order."""
        number = next(i for i, t in enumerate(self.tracks) if t.name == name)
        rows: Column = self.table[self.column("track") == number]
        return rows

    def span_names(self, rows: Column) -> list[str]:
        """The names of some rows of the table."""
        return [self.names[i] for i in rows[:, FIELDS.index("name")]]
