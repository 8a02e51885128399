"""Invariants of any timeline, simulated, emulated or measured: what the spans alone can tell."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from sim.check.invariant import Evidence, Found, Invariants
from sim.program.constants import Constants
from sim.timeline.metrics import busy_intervals, idle_by_cause
from sim.timeline.spans import Column, Kind, Place, Timeline

TIMELINES = Invariants()
"""Every invariant of timelines, by name."""

LAUNCHES = frozenset({"cudaLaunchKernel", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaMemcpy"})


def told(timeline: Timeline, row: int) -> str:
    """A span in words."""
    track, start, end, _, name, _, step = timeline.table[row].tolist()
    of = f" of step {step}" if step >= 0 else ""
    return f"{timeline.names[name]}{of} on {timeline.tracks[track].name} ({start}..{end} ns)"


def rows_on(timeline: Timeline, place: Place) -> Iterator[tuple[int, Column]]:
    """Each track of a kind that has spans, with the rows of its spans in order of start."""
    track = timeline.column("track")
    for number, about in enumerate(timeline.tracks):
        rows = np.flatnonzero(track == number)
        if about.place is place and len(rows):
            yield number, rows


def calls_of(timeline: Timeline) -> tuple[Column, Column]:
    """For each device span the row of the call that launched it, and which device spans have one (rows)."""
    calls = np.flatnonzero(timeline.launching)
    device = np.flatnonzero(timeline.on_device & (timeline.column("correlation") != 0))
    ids = timeline.column("correlation")
    order = calls[np.argsort(ids[calls], kind="stable")]
    if not len(order):
        return np.full(len(device), -1), device
    at = np.searchsorted(ids[order], ids[device]).clip(max=len(order) - 1)
    call = np.where(ids[order[at]] == ids[device], order[at], -1)
    return call, device


@TIMELINES.state(
    "monotone-clocks",
    forbids="a span that ends before it starts, a start before the run's, deliveries out of order",
    why="every number that is read from a timeline is a difference of times",
)
def monotone_clocks(evidence: Evidence) -> Found:
    """No clock goes backwards; a request's first token comes after its arrival, its last not before its first."""
    timeline = evidence.timeline
    start, end = timeline.column("start"), timeline.column("end")
    earliest = 0 if evidence.simulated else -timeline.clock_error
    for row in np.flatnonzero((end < start) | (start < earliest)).tolist():
        yield f"{told(timeline, row)} runs backwards or begins before the run", (row,)
    before = None
    for delivery in timeline.deliveries:
        if before is not None and (delivery.time < before.time or delivery.step <= before.step):
            yield (
                f"step {delivery.step} was delivered at {delivery.time} ns, step {before.step} at {before.time} ns",
                (),
            )
        before = delivery
    for served in timeline.served:
        if not served.arrival <= served.first <= served.last:
            times = f"arrived at {served.arrival}, got its first token at {served.first}, its last at {served.last} ns"
            yield f"request {served.request} {times}", ()


@TIMELINES.state(
    "one-thing-a-thread",
    forbids="two spans of one host thread at the same time",
    why="a host thread that does two things at once hides cost that a real one pays",
)
def one_thing_a_thread(evidence: Evidence) -> Found:
    """A thread's spans follow each other."""
    timeline = evidence.timeline
    for _, rows in rows_on(timeline, Place.HOST_THREAD):
        start, reached = timeline.column("start")[rows], np.maximum.accumulate(timeline.column("end")[rows])
        for at in (np.flatnonzero(start[1:] < reached[:-1]) + 1).tolist():
            before = int(rows[:at][np.argmax(timeline.column("end")[rows[:at]])])
            yield (
                f"{told(timeline, int(rows[at]))} starts while the thread is still in {told(timeline, before)}",
                (before, int(rows[at])),
            )


@TIMELINES.state(
    "causality",
    forbids="device work without a launching call, or before it",
    why="an effect before its cause means that a wait, a queue or a clock is wrong",
)
def causality(evidence: Evidence) -> Found:
    """Work starts after its call began; in a simulation after the call returned, but for a pageable copy."""
    timeline = evidence.timeline
    call, device = calls_of(timeline)
    for row in device[call < 0].tolist():
        yield f"{told(timeline, row)} was launched by no call", (row,)
    device, call = device[call >= 0], call[call >= 0]
    start, end = timeline.column("start"), timeline.column("end")
    pageable = np.array(["Pageable" in name for name in timeline.names], dtype=bool)
    within = pageable[timeline.column("name")[device]] if evidence.simulated else np.ones(len(device), dtype=bool)
    cause = np.where(within, start[call] - timeline.clock_error, end[call])
    for at in np.flatnonzero(start[device] < cause).tolist():
        rows = int(call[at]), int(device[at])
        yield f"{told(timeline, rows[1])} starts before its cause, {told(timeline, rows[0])}", rows
    steps = timeline.column("step")
    for at in np.flatnonzero(steps[device] != steps[call]).tolist():
        rows = int(call[at]), int(device[at])
        yield f"{told(timeline, rows[1])} was launched for another step, by {told(timeline, rows[0])}", rows


@TIMELINES.state(
    "nothing-lost",
    forbids="a launch whose work never runs",
    why="work that is lost makes every step look faster than it is",
)
def nothing_lost(evidence: Evidence) -> Found:
    """Every launch of a kernel, a graph or a copy has work on the device."""
    timeline = evidence.timeline
    if not timeline.on_device.any():
        return  # a device that keeps no spans loses none
    named = np.array([name in LAUNCHES for name in timeline.names], dtype=bool)
    ids = timeline.column("correlation")
    lost = timeline.launching & named[timeline.column("name")] & ~np.isin(ids, ids[timeline.on_device])
    for row in np.flatnonzero(lost).tolist():
        yield f"{told(timeline, row)} launched work that never ran", (row,)


@TIMELINES.state(
    "stream-order",
    forbids="work of a stream that overtakes work launched into it before",
    why="a stream is first in, first out: data passes from kernel to kernel by nothing but this order",
)
def stream_order(evidence: Evidence) -> Found:
    """Entries of a stream start in the order of their launches."""
    timeline = evidence.timeline
    call, device = calls_of(timeline)
    caused = np.zeros(len(timeline.table), dtype=bool)
    caused[device[call >= 0]] = True
    for _, rows in rows_on(timeline, Place.STREAM):
        known = rows[caused[rows]]
        ids = timeline.column("correlation")[known]
        newest = np.maximum.accumulate(ids)
        for at in np.flatnonzero(ids < newest).tolist():
            ahead = int(known[np.argmax(ids[: at + 1])])
            rows_told = ahead, int(known[at])
            yield (
                f"{told(timeline, rows_told[1])} was launched before {told(timeline, ahead)}, which overtook it",
                rows_told,
            )


@TIMELINES.state(
    "stream-serial",
    forbids="two entries of one stream at the same time",
    why="kernels of one stream see each other's writes only because they never overlap",
)
def stream_serial(evidence: Evidence) -> Found:
    """Entries of a stream follow each other; only the kernels of one graph may run side by side.

    On a real device a library may launch a kernel dependent on the one before (programmatic dependent launch, as
    cuBLASLt does with the reduction of a split product): it begins under that one's tail, and waits inside for its
    end. So of a measured timeline an entry may begin before the end of the one right before it, if it ends after it.
    """
    timeline = evidence.timeline
    for _, rows in rows_on(timeline, Place.STREAM):
        start, end, ids = (timeline.column(name)[rows] for name in ("start", "end", "correlation"))
        reached, last = -1, -1
        for at, (begins, ends, entry) in enumerate(zip(start.tolist(), end.tolist(), ids.tolist(), strict=True)):
            dependent = not evidence.simulated and last == at - 1 and ends >= reached
            if last >= 0 and begins < reached and (entry == 0 or entry != ids[last]) and not dependent:
                pair = int(rows[last]), int(rows[at])
                yield f"{told(timeline, pair[1])} starts while {told(timeline, pair[0])} still runs", pair
            if ends > reached:
                reached, last = ends, at


@TIMELINES.state(
    "queue-bound",
    forbids="a launch that returns while the stream's launch queue is over-full",
    why="a host that never blocks runs ahead of what a real queue lets it",
    needs=("costs",),
)
def queue_bound(evidence: Evidence) -> Found:
    """Launch i of a stream returns when entry i - Q has started, not before."""
    timeline, costs = evidence.timeline, evidence.costs
    assert costs is not None
    constants = costs.constants
    call, device = calls_of(timeline)
    call_of = dict(zip(device.tolist(), call.tolist(), strict=True))
    for _, rows in rows_on(timeline, Place.STREAM):
        first: dict[int, int] = {}  # the first span of each entry, in order of start
        for row in rows.tolist():
            if call_of.get(row, -1) >= 0:
                first.setdefault(int(timeline.column("correlation")[row]), row)
        entries = [first[entry] for entry in sorted(first)]
        for ahead, row in zip(entries, entries[constants.queue_depth :], strict=False):
            launched = call_of[row]
            if timeline.column("end")[launched] < timeline.column("start")[ahead]:
                text = (
                    f"{told(timeline, launched)} returned over a full queue, before {told(timeline, ahead)} had started"
                )
                yield text, (launched, ahead)


@TIMELINES.state(
    "waits-are-honest",
    forbids="a wait that returns before what it waits for, tokens delivered before they were computed",
    why="a result that is read too early is a stale one",
)
def waits_are_honest(evidence: Evidence) -> Found:
    """A wait for a step, and the delivery of its tokens, come after all device work of that step.

    A wait for the whole device comes after all that the same thread launched before it.
    """
    timeline = evidence.timeline
    table, error = timeline.table, timeline.clock_error
    device = np.flatnonzero(timeline.on_device)
    last: dict[int, int] = {}
    for row in device.tolist():
        step = int(table[row, 6])
        if step >= 0 and (step not in last or table[row, 2] > table[last[step], 2]):
            last[step] = row
    call, launched = calls_of(timeline)
    for row in np.flatnonzero(timeline.column("kind") == Kind.WAIT).tolist():
        track, _, end, _, name, _, step = table[row].tolist()
        if timeline.names[name] == "cudaDeviceSynchronize":
            mine = launched[(call >= 0) & (call < row) & (table[call, 0] == track)]
            waited = int(mine[np.argmax(table[mine, 2])]) if len(mine) else None
        else:
            waited = last.get(step)
        if waited is not None and table[waited, 2] > end + error:
            yield f"{told(timeline, row)} returned before {told(timeline, waited)} had ended", (row, waited)
    for delivery in timeline.deliveries:
        waited = last.get(delivery.step)
        if waited is not None and table[waited, 2] > delivery.time + error:
            work = told(timeline, waited)
            yield f"step {delivery.step} reached clients at {delivery.time} ns, before {work} had ended", (waited,)


@TIMELINES.state(
    "tokens-once",
    forbids="a token that is delivered twice or never, a request that ends twice",
    why="a client counts its tokens",
)
def tokens_once(evidence: Evidence) -> Found:
    """What steps delivered is what requests received; every request ends once, within its rows."""
    timeline = evidence.timeline
    for delivery in timeline.deliveries:
        if not 0 <= delivery.tokens <= delivery.rows:
            yield f"step {delivery.step} delivered {delivery.tokens} tokens of {delivery.rows} rows", ()
    ended = sorted(served.request for served in timeline.served)
    for request, again in pairwise(ended):
        if request == again:
            yield f"request {request} ended twice", ()
    for served in timeline.served:
        if served.tokens < 1:
            yield f"request {served.request} ended with {served.tokens} tokens", ()
    delivered, received = sum(d.tokens for d in timeline.deliveries), sum(s.tokens for s in timeline.served)
    if timeline.served and delivered != received:
        yield f"steps delivered {delivered} tokens, requests received {received}", ()


@TIMELINES.state(
    "idle-adds-up",
    forbids="device time that is counted twice or not at all",
    why="the causes of idle time are the answer to what overlap can still hide",
)
def idle_adds_up(evidence: Evidence) -> Found:
    """Busy time and the parts of the idle time add up to the run, device by device, and no part is negative."""
    timeline = evidence.timeline
    if not len(timeline.table):
        return
    start, end = int(timeline.column("start").min()), int(timeline.column("end").max())
    for rank in sorted({track.rank for track in timeline.tracks if track.place is Place.STREAM}):
        busy = busy_intervals(timeline, start, end, rank)
        parts = idle_by_cause(timeline, busy, start, end, rank)
        total = int((busy[:, 1] - busy[:, 0]).sum()) + sum(parts.values())
        if total != end - start or min(parts.values()) < 0:
            yield f"device {rank}: busy and idle parts {parts} add up to {total} of {end - start} ns", ()


@TIMELINES.state(
    "work-conservation",
    forbids="a device that idles although work for it has been launched",
    why="idle time that nothing explains is a bug of the machine, not of the host",
    needs=("costs",),
)
def work_conservation(evidence: Evidence) -> Found:
    """Once the call has returned, an idle device starts within its latencies and gaps."""
    timeline, costs = evidence.timeline, evidence.costs
    assert costs is not None
    constants = costs.constants
    call, device = calls_of(timeline)
    device, call = device[call >= 0], call[call >= 0]
    ids, kind = timeline.column("correlation"), timeline.column("kind")
    records = np.array([name == "cudaEventRecord" for name in timeline.names], dtype=bool)
    stamps = np.sort(ids[(kind == Kind.CALL) & records[timeline.column("name")]])
    ranks = np.array([track.rank for track in timeline.tracks])
    for rank in np.unique(ranks).tolist():
        mine = ranks[timeline.column("track")[device]] == rank
        work, launched = device[mine], call[mine]
        if not len(work):
            continue
        start, reached = timeline.column("start")[work], np.maximum.accumulate(timeline.column("end")[work])
        free = np.append(timeline.column("start").min(), reached[:-1])
        ready = np.maximum(free, timeline.column("end")[launched])
        allowed = slack(constants, int(np.bincount(ids[work]).max()))
        stamped = constants.timed_event * np.searchsorted(stamps, ids[work])
        for at in np.flatnonzero(start > ready + allowed + stamped).tolist():
            row = int(work[at])
            text = (
                f"{told(timeline, row)} could run from {ready[at]} ns on, longer before than latencies and gaps allow"
            )
            yield text, (row,)


def slack(constants: Constants, nodes: int) -> int:
    """What may lie between work that is ready and its start on an idle device: every latency and gap there is."""
    c = constants
    latencies = c.launch_latency + c.copy_latency + c.graph_launch_latency
    gaps = c.stream_gap + c.graph_gap + c.graph_join_gap + c.replay_gap + c.stream_switch + c.dispatch_interval
    return latencies + gaps + c.graph_launch_latency_per_1000_nodes * nodes // 1000
