"""The quantities read from a timeline: step time, throughput, and where the device's idle time comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.timeline.spans import Column, Delivery, Kind, Place, Timeline

HOST_CAUSES = {
    "receive": "schedule",
    "schedule": "schedule",
    "prepare": "prepare",
    "enter stream": "launch",
    "launch": "launch",
    "process": "process",
}
NEVER, EVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max
IDLE_PARTS = ("schedule", "prepare", "launch", "launch_latency", "wake_up", "process", "gap", "no_work")
"""Causes of idle device time. The first six are time that the device waits through for its host: exposed host time."""
HOST_PARTS = ("schedule", "prepare", "launch", "wait", "process", "other")
"""What a scheduler thread does; ``wait`` is for the device, ``other`` for requests, or nothing that was recorded."""


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One mode of a serving scenario, a step's share of each; times are nanoseconds.

    ``step_ns`` is the mean interval between deliveries: of a closed batch, between deliveries of the full batch, the
    first 3 and the last 2 left out; of an open loop, or where fewer than 7 full batches are delivered, between all
    deliveries from the first arrival on, waits for work included. ``busy_ns`` is the union of kernels, copies and
    memsets over the same window, and ``idle`` splits the rest by cause, so that busy and idle add up to the step.
    ``launches`` are host calls that enqueue, ``kernels`` those that ran, graph nodes included; of several ranks, as
    everything of the device, those of rank 0. ``tokens_per_s`` counts
    all tokens that reached clients, from the first arrival to the last delivery; ``late_rows`` those that ran after
    their request had stopped.
    """

    step_ns: float
    tokens_per_s: float
    busy_ns: float
    idle: dict[str, float]
    launches: float
    kernels: float
    late_rows: int
    steps: int
    window: tuple[int, int]

    @property
    def device_busy(self) -> float:
        """Share of the step that the device is busy."""
        return self.busy_ns / self.step_ns

    @property
    def exposed_host_ns(self) -> float:
        """Host time a step during which the device idles for lack of work."""
        return sum(self.idle[part] for part in IDLE_PARTS[:6])


def steady(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Deliveries that bound the steady steps: the first opens the window, each of the others ends a step.

    None of fewer than 7: the pipeline's filling and draining would pass for its pace. Steps that reach the clients at
    one instant are one round of an engine: the window opens and closes with whole rounds.
    """
    rows, prefill, times = (np.array([getattr(d, name) for d in deliveries]) for name in ("rows", "prefill", "time"))
    return [deliveries[i] for i in _steady(rows, prefill.astype(np.bool_), times).tolist()]


def steady_rows(rows: Column, prefill: npt.NDArray[np.bool_]) -> Column:
    """Where among all deliveries those of the full batch lie: none of fewer than 7."""
    full = np.flatnonzero((rows == rows[~prefill].max(initial=0)) & ~prefill)
    return full if len(full) >= 7 else full[:0]


def _steady(rows: Column, prefill: npt.NDArray[np.bool_], times: Column) -> Column:
    """Where in the columns of all deliveries the steady ones lie."""
    full = steady_rows(rows, prefill)
    ends = 3 + np.flatnonzero(times[full[3:-2]] != times[full[4:-1]])
    return full[ends[0] : ends[-1] + 1] if len(ends) else full[:0]


@dataclass(frozen=True, eq=False, slots=True)
class StepPace:
    """What deliveries alone tell of a run: ``step_ns``, ``tokens_per_s`` and so on as in ``StepMetrics``."""

    tokens_per_s: float
    late_rows: int
    numbers: Column
    window: tuple[int, int]

    @property
    def steps(self) -> int:
        """Steps in the window."""
        return len(self.numbers)

    @property
    def step_ns(self) -> float:
        """The mean interval between deliveries."""
        return (self.window[1] - self.window[0]) / self.steps


def pace(timeline: Timeline, *, closed: bool = True) -> StepPace:
    """The pace of a serving run, spans or not; raises ``ValueError`` when it delivered nothing."""
    if not timeline.deliveries:
        raise ValueError("the run delivered no step")
    first_arrival = min((s.arrival for s in timeline.served), default=0)
    times, steps, rows, tokens, prefill = map(timeline.delivered, ("time", "step", "rows", "tokens", "prefill"))
    return pace_of(times, steps, rows, tokens, prefill > 0, first_arrival, closed=closed)


def pace_of(
    times: Column,
    steps: Column,
    rows: Column,
    tokens: Column,
    prefill: npt.NDArray[np.bool_],
    first_arrival: int = 0,
    *,
    closed: bool = True,
) -> StepPace:
    """The pace of so many deliveries, at least one, by their columns."""
    last = int(times[-1])
    bounds = _steady(rows, prefill, times) if closed else steps[:0]
    if len(bounds) > 1:
        window, numbers = (int(times[bounds[0]]), int(times[bounds[-1]])), steps[bounds[1:]]
    else:
        window, numbers = (first_arrival, last), steps
    total = int(tokens.sum())
    return StepPace(total * 1e9 / max(1, last - first_arrival), int(rows.sum()) - total, numbers, window)


def step_metrics(timeline: Timeline, *, closed: bool = True) -> StepMetrics:
    """The metrics of a serving run; raises ``ValueError`` when it delivered nothing."""
    found = pace(timeline, closed=closed)
    (start, end), steps = found.window, found.steps
    busy = busy_intervals(timeline, start, end)
    idle = idle_by_cause(timeline, busy, start, end)
    ranks = np.array([track.rank for track in timeline.tracks])
    counted = np.isin(timeline.column("step"), found.numbers) & (ranks[timeline.column("track")] == 0)
    kinds = timeline.column("kind")
    return StepMetrics(
        step_ns=found.step_ns,
        tokens_per_s=found.tokens_per_s,
        busy_ns=int((busy[:, 1] - busy[:, 0]).sum()) / steps,
        idle={cause: ns / steps for cause, ns in idle.items()},
        launches=int((counted & timeline.launching).sum()) / steps,
        kernels=int((counted & (kinds == Kind.KERNEL)).sum()) / steps,
        late_rows=found.late_rows,
        steps=steps,
        window=found.window,
    )


def host_parts(timeline: Timeline, window: tuple[int, int], steps: int) -> dict[str, float]:
    """Nanoseconds a step that the first host thread spends on each of ``HOST_PARTS``; they add up to the step."""
    first = next(i for i, track in enumerate(timeline.tracks) if track.place is Place.HOST_THREAD)
    start, end = window
    spans = timeline.table[(timeline.column("track") == first) & (timeline.column("end") > start)]
    lengths = spans[:, 2].clip(max=end) - spans[:, 1].clip(start, end)
    parts = dict.fromkeys(HOST_PARTS, 0.0)
    for (kind, name), ns in zip(spans[:, 3:5].tolist(), lengths.tolist(), strict=True):
        part = {Kind.CALL: "launch", Kind.WAIT: "wait", Kind.NO_WORK: "other"}.get(Kind(kind))
        parts[part or HOST_CAUSES.get(timeline.names[name], "other")] += ns / steps
    parts["other"] += (end - start) / steps - sum(parts.values())
    return parts


def busy_intervals(timeline: Timeline, start: int, end: int, rank: int = 0) -> Column:
    """The union of a device's spans inside ``[start, end)``, as rows of (start, end) in order."""
    device = _device_work(timeline, rank)
    starts, ends = device[:, 1].clip(start, end), np.maximum.accumulate(device[:, 2].clip(start, end))
    kept = ends > starts
    starts, ends = starts[kept], ends[kept]
    if not len(starts):
        return np.empty((0, 2), dtype=np.int64)
    opens = np.append(True, starts[1:] > ends[:-1])
    closes = np.append(opens[1:], True)
    return np.stack([starts[opens], ends[closes]], axis=1)


def _device_work(timeline: Timeline, rank: int) -> Column:
    tracks = [i for i, t in enumerate(timeline.tracks) if t.place is Place.STREAM and t.rank == rank]
    work: Column = timeline.table[timeline.on_device & np.isin(timeline.column("track"), tracks)]
    return work


def idle_by_cause(timeline: Timeline, busy: Column, start: int, end: int, rank: int = 0) -> dict[str, int]:
    """Split a device's idle time in ``[start, end)`` by cause; the parts add up to it exactly.

    An idle interval ends with some device work. Until the call that launched this work returned, the device idled for
    what the launching thread was doing; after that, for the latency to an idle device, or, if the call had returned
    before the interval began, for a gap that the device itself makes. A device without any work has no work. Where
    several threads share a lock, what passes it on counts as wake-up.
    """
    edges = np.concatenate([[start], busy.ravel(), [end]]).reshape(-1, 2)
    idle = edges[edges[:, 1] > edges[:, 0]]
    parts = dict.fromkeys(IDLE_PARTS, 0)
    device = _device_work(timeline, rank)
    if not len(device):
        parts["no_work"] = int((idle[:, 1] - idle[:, 0]).sum())
        return parts
    returned, thread = _launching_calls(timeline, device, idle[:, 1])
    starved_until = np.clip(returned, idle[:, 0], idle[:, 1])
    waiting = returned > idle[:, 0]
    rest = idle[:, 1] - starved_until
    parts["launch_latency"] = int(rest[waiting].sum())
    parts["gap"] = int(rest[~waiting].sum())
    others = [i for i, t in enumerate(timeline.tracks) if t.place is Place.HOST_THREAD and t.rank == rank]
    for number in np.unique(thread):
        mine = thread == number
        left = idle[mine, 0], starved_until[mine]
        # while the launching thread does nothing it waits for another one, and between the two for the lock they share
        for track in [int(number), *(i for i in others if i != number)]:
            for cause, ns in _host_activity(timeline, track, *left).items():
                parts[cause] += ns
            left = _uncovered(timeline, track, *left)
        parts["no_work" if len(others) < 2 else "wake_up"] += int((left[1] - left[0]).sum())
    return parts


def _uncovered(timeline: Timeline, track: int, starts: Column, ends: Column) -> tuple[Column, Column]:
    """The parts of some intervals, in order, during which a thread has no span."""
    spans = timeline.table[timeline.column("track") == track]
    opens, closes = np.append(NEVER, spans[:, 2]), np.append(spans[:, 1], EVER)
    first, last = np.searchsorted(closes, starts, side="right"), np.searchsorted(opens, ends, side="left")
    counts = (last - first).clip(min=0)
    interval = np.repeat(np.arange(len(starts)), counts)
    gap = np.arange(len(interval)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    found = np.maximum(opens[gap], starts[interval]), np.minimum(closes[gap], ends[interval])
    kept = found[1] > found[0]
    return found[0][kept], found[1][kept]


def _launching_calls(timeline: Timeline, device: Column, times: Column) -> tuple[Column, Column]:
    """For each time, when the call returned whose work starts there or next, and the track of its thread."""
    calls = timeline.table[timeline.launching]
    by_id = calls[np.argsort(calls[:, 5], kind="stable")]
    work = device[np.searchsorted(device[:, 1], times).clip(max=len(device) - 1)]
    found = np.searchsorted(by_id[:, 5], work[:, 5]).clip(max=len(by_id) - 1)
    late = times > device[-1, 1]  # nothing starts any more: the thread's own time until the end
    return np.where(late, times, by_id[found, 2]), by_id[found, 0]


def _host_activity(timeline: Timeline, track: int, starts: Column, ends: Column) -> dict[str, int]:
    """What a thread did during some intervals, in nanoseconds a cause, as far as its spans cover them."""
    mine = timeline.table[timeline.column("track") == track]
    cause_of = {Kind.CALL: "launch", Kind.WAIT: "wake_up", Kind.NO_WORK: "no_work"}
    causes = np.array(
        [cause_of.get(Kind(kind)) or HOST_CAUSES.get(timeline.names[name], "process") for kind, name in mine[:, 3:5]]
    )
    parts: dict[str, int] = {}
    for cause in np.unique(causes):
        spans = mine[causes == cause]
        before = np.append(0, np.cumsum(spans[:, 2] - spans[:, 1]))

        def covered(times: Column, spans: Column = spans, before: Column = before) -> Column:
            """Time that the spans cover before each of ``times``; a thread's spans do not overlap."""
            at = np.searchsorted(spans[:, 1], times, side="right")
            last = (at - 1).clip(min=0)
            inside = np.minimum(times, spans[last, 2]) - spans[last, 1]
            result: Column = np.where(at > 0, before[last] + inside, 0)
            return result

        parts[str(cause)] = int((covered(ends) - covered(starts)).sum())
    return parts
