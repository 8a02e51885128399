"""A host's own spans and a profiler's trace of the same run, joined into one timeline."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpu.profiling.alignment import Clock
from sim.timeline.kineto import Call, Trace
from sim.timeline.rows import Rows
from sim.timeline.spans import Delivery, Kind, Place, Recorder, Served, Timeline


class Span(NamedTuple):
    """A row of a timeline's table."""

    track: int
    start: int
    end: int
    kind: int
    name: int
    correlation: int
    step: int


@dataclass(frozen=True, slots=True)
class Joined:
    """A timeline, and what of the trace is not in it or cannot be true.

    Work that was launched before the run or after it is left out. ``outside`` counts other work without a place: its
    call is not in the trace, or in no span of a host's thread. ``too_early`` counts work that starts before its
    launching call by more than the clocks' error, and ``earliest`` is the most of it (ns).
    """

    timeline: Timeline
    outside: int
    too_early: int
    earliest: int


def joined(host: Timeline, trace: Trace, clock: Clock, streams: Mapping[int, str]) -> Joined:
    """Put a trace's calls and device work into the timeline of the run that it was taken of.

    A call of the trace replaces the part of the host's span that it lies in, and takes its step; what remains of a
    launch is the framework's and stays as the host's time. A wait stays whole: the call is the wait. Work goes to one
    track a stream, with the step of its call; ``streams`` names the trace's stream ids.
    """
    out = Recorder()
    for row in host.tracks:
        out.track(row.name, row.place, row.rank)
    on_threads: dict[int, list[Span]] = defaultdict(list)
    for values in host.table.tolist():
        span = Span(*values)
        if host.tracks[span.track].place is Place.HOST_THREAD:
            on_threads[span.track].append(span)
        else:
            out.span(*span._replace(name=out.name(host.names[span.name])))
    calls = _calls(host, trace, clock)
    steps: dict[int, int] = {}
    starts = {call.correlation: call.start for call in calls}
    track_of = _threads_of(calls, on_threads)
    mine: dict[int, list[Call]] = defaultdict(list)
    for call in calls:
        if call.thread in track_of:
            mine[track_of[call.thread]].append(call)
    launching = {work.correlation for work in trace.work} - {0}
    for track, spans in on_threads.items():
        for span in _cut(spans, mine[track], host, out, launching):
            out.span(*span)
            if span.correlation:
                steps[span.correlation] = span.step
    tracks: dict[int, int] = {}
    elsewhere = {call.correlation for call in trace.calls} - {call.correlation for call in calls}
    outside, early = 0, [0]
    for work in trace.work:
        if work.correlation not in steps:
            outside += work.correlation not in elsewhere
            continue
        if work.stream not in tracks:
            tracks[work.stream] = out.track(streams.get(work.stream, f"stream {work.stream}"), Place.STREAM)
        start, end = (clock.host(t) - host.origin for t in (work.start, work.end))
        lead = starts[work.correlation] - start
        early += [lead] if lead > clock.error else []
        number = out.name(work.name)
        out.span(tracks[work.stream], start, end, work.kind, number, work.correlation, steps[work.correlation])
    out.deliveries, out.served = Rows(Delivery, host.deliveries), Rows(Served, host.served)
    return Joined(out.timeline(host.origin), outside, len(early) - 1, max(early))


def _calls(host: Timeline, trace: Trace, clock: Clock) -> list[Call]:
    """The calls within the run, by its time; one that lies in another's time on the same thread is part of that."""
    end = int(host.column("end").max(initial=0))
    launched = {work.correlation for work in trace.work}
    kept: dict[int, Call] = {}
    out: list[Call] = []
    for call in trace.calls:
        start, stop = (clock.host(t) - host.origin for t in (call.start, call.end))
        if start < -clock.error or start > end:
            continue
        outer = kept.get(call.thread)
        if outer is not None and call.end <= outer.end:
            if call.correlation in launched and outer.correlation not in launched:
                kept[call.thread] = outer._replace(correlation=call.correlation)
                position = max(i for i, c in enumerate(out) if c.thread == call.thread)
                out[position] = out[position]._replace(correlation=call.correlation)
            continue
        kept[call.thread] = call
        out.append(call._replace(start=max(0, start), end=stop))
    return out


def _threads_of(calls: Sequence[Call], on_threads: Mapping[int, list[Span]]) -> dict[int, int]:
    """For each thread of the trace, the track most of whose launches and waits its calls lie in."""
    votes: dict[int, Counter[int]] = defaultdict(Counter)
    for track, spans in on_threads.items():
        launches = [s for s in spans if s.kind in (Kind.CALL, Kind.WAIT)]
        begins = [s.start for s in launches]
        for call in calls:
            at = bisect_right(begins, (call.start + call.end) // 2) - 1
            if at >= 0 and (call.start + call.end) // 2 < launches[at].end:
                votes[call.thread][track] += 1
    return {thread: counts.most_common(1)[0][0] for thread, counts in votes.items()}


def _cut(
    spans: Sequence[Span], calls: Sequence[Call], host: Timeline, out: Recorder, launching: set[int]
) -> list[Span]:
    """A thread's spans with its calls in place of what they cover; those inside a wait are that wait.

    Launches of what the host's timeline itself knows of its device stay tied to it.
    """
    result: list[Span] = []
    known = set(host.column("correlation")[host.on_device].tolist())
    begins = [call.start for call in calls]
    within: set[int] = set()
    for span in spans:
        span = span._replace(name=out.name(host.names[span.name]))  # noqa: PLW2901
        first = max(0, bisect_right(begins, span.start) - 1)
        inside = []
        for at in range(first, bisect_right(begins, span.end)):
            middle = (calls[at].start + calls[at].end) // 2
            if span.start <= middle < span.end and at not in within:
                within.add(at)
                inside.append(calls[at])
        if span.kind in (Kind.WAIT, Kind.NO_WORK) or not inside:
            result.append(span if span.correlation in known else span._replace(correlation=0))
            continue
        now = span.start
        for call in inside:
            start = max(call.start, now)
            end = max(start, min(call.end, span.end))
            if start > now:
                result.append(span._replace(start=now, end=start, kind=Kind.HOST, correlation=0))
            number = call.correlation if call.correlation in launching else 0
            kind = Kind.WAIT if call.name.endswith("Synchronize") else Kind.CALL
            result.append(Span(span.track, start, end, kind, out.name(call.name), number, span.step))
            now = end
        if now < span.end:
            result.append(span._replace(start=now, kind=Kind.HOST, correlation=0))
    return result
