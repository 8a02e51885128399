"""The spans of a few steps, lane by lane, each with what it took and what priced it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from sim.studies.validation.families import REST, Family, copy_family, host_family, kernel_family
from sim.timeline.spans import Column, Kind, Place, Timeline

LATENCIES = {"graph launch": "graph_launch_latency", "copy call": "copy_latency"}


@dataclass(frozen=True, slots=True)
class Item:
    """A span: ``length`` is what it took of its own, ``gap`` what passed before it that nothing else explains (ns).

    On the host a span takes the time since the span before it ended, of a wait only what follows the event. On the
    device the gap counts from the latest end of other work or from the return of the span's call, whichever is later.
    ``priced_by`` and ``gap_priced_by`` name the fields that gave the two. ``at`` is where the span stands in its lane:
    its start, on a host thread without the time that it has waited for the device.
    """

    name: str
    family: Family
    lane: str
    start: int
    length: int
    gap: int
    priced_by: str
    gap_priced_by: str
    at: int

    @property
    def on_host(self) -> bool:
        """Whether it is a host thread's span."""
        return self.lane.startswith("host")

    @property
    def is_copy(self) -> bool:
        """Whether it is a copy over a copy engine."""
        return not self.on_host and self.lane != "kernels"


def items_of(timeline: Timeline, steps: range) -> list[Item]:
    """Lanes are the host threads, the kernels, and the copies by direction; an empty range takes all spans."""
    return [*_host(timeline, steps), *_device(timeline, steps)]


def _host(timeline: Timeline, steps: range) -> Iterator[Item]:
    fired, launched = _ends_of_steps(timeline), _launched(timeline)
    for number, track in enumerate(timeline.tracks):
        if track.place is not Place.HOST_THREAD:
            continue
        rows = timeline.table[timeline.column("track") == number]
        first, last = _between(rows, steps)
        before = int(rows[first - 1, 2]) if first else None
        own = 0
        for _, start, end, kind, name, correlation, step in rows[first:last].tolist():
            family = host_family(timeline.names[name])
            if family is REST and kind != Kind.CALL:  # a profiled launch between its calls: the next call's time
                before = start if before is None else before
                continue
            at = start if before is None or kind == Kind.WAIT else before
            priced_by, length, before = family.priced_by, end - at, end
            if kind == Kind.NO_WORK:
                continue
            if kind == Kind.WAIT:  # how long it waits is the device's doing
                length = end - max(start, fired[step]) if step in fired else 0
                if fired.get(step, start) <= start:
                    priced_by = "constants.event_sync_call"
            elif family.name == "launch" and correlation in launched:
                priced_by = f"engine.framework.by_kind.{launched[correlation].call}"
            yield Item(timeline.names[name], family, f"host {track.name}", at, length, 0, priced_by, priced_by, own)
            own += length


def _between(rows: Column, steps: range) -> tuple[int, int]:
    """A host thread's rows from the first one of these steps to the first one of the step after them."""
    if not steps:
        return 0, len(rows)
    of = rows[:, 6].tolist()
    first = of.index(steps.start) if steps.start in of else len(of)
    return first, of.index(steps.stop) if steps.stop in of else len(of)


def _ends_of_steps(timeline: Timeline) -> dict[int, int]:
    """When the last work of each step on a device ended; -1 stands for all work."""
    ends: dict[int, int] = {}
    for _, _, end, _, _, _, step in timeline.table[timeline.on_device].tolist():
        for key in (step, -1):
            ends[key] = max(end, ends.get(key, 0))
    return ends


def _launched(timeline: Timeline) -> dict[int, Family]:
    """What each call launched, by correlation id."""
    kernels = timeline.table[(timeline.column("kind") == Kind.KERNEL) & (timeline.column("correlation") != 0)]
    return {row[5]: kernel_family(timeline.names[row[4]]) for row in kernels.tolist()}


def _device(timeline: Timeline, steps: range) -> Iterator[Item]:
    kind, correlations = timeline.column("kind"), timeline.column("correlation")
    calls = timeline.table[(kind == Kind.CALL) & (correlations != 0)]
    returned = {row[5]: (row[2], host_family(timeline.names[row[4]]).name) for row in calls.tolist()}
    work = timeline.table[timeline.on_device].tolist()
    ends = sorted(row[2] for row in work)
    launches: dict[int, int] = {}  # correlation of the work before, by track
    for track, start, end, kind_of, name, correlation, step in work:
        text, in_graph = timeline.names[name], correlation != 0 and launches.get(track) == correlation
        launches[track] = correlation
        if steps and step not in steps:
            continue
        family = kernel_family(text) if kind_of == Kind.KERNEL else copy_family(text)
        ended = bisect_right(ends, start)
        since = ends[ended - 1] if ended else None
        constant = "constants.graph_gap" if in_graph else "constants.stream_gap"
        back, call = returned.get(correlation, (None, ""))
        if not in_graph and back is not None and (since is None or back > since):
            since, constant = back, f"constants.{LATENCIES.get(call, 'launch_latency')}"
        lane = "kernels" if kind_of == Kind.KERNEL else family.name
        gap = 0 if since is None else start - since
        yield Item(text, family, lane, start, end - start, gap, family.priced_by, constant, start)
