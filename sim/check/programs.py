"""Invariants of a simulated run whose operations are known: events, graphs, copy engines, lengths, and calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from itertools import pairwise

import numpy as np

from sim.check.invariant import Entry, Evidence, Found, Invariants
from sim.check.timelines import rows_on, told
from sim.program.ops import Collective, Copy, Kernel, Record, Replay
from sim.timeline.spans import Kind, Place, Timeline

PROGRAMS = Invariants()
"""Every invariant of programs, by name."""


def launches(evidence: Evidence) -> Iterator[Entry]:
    """The entries that have device work."""
    assert evidence.entries is not None
    return (entry for entry in evidence.entries if entry.takes_a_slot and entry.spans)


def bounds(timeline: Timeline, entry: Entry) -> tuple[int, int]:
    """Start and end of an entry's device work."""
    rows = timeline.table[list(entry.spans)]
    return int(rows[:, 1].min()), int(rows[:, 2].max())


@PROGRAMS.state(
    "events-are-honoured",
    forbids="work that starts before the event that its stream waits for has fired",
    why="events are all that orders two streams: without them one reads what the other has not written",
    needs=("entries",),
)
def events_are_honoured(evidence: Evidence) -> Found:
    """An entry starts after everything that comes before it in its stream, and before each event that it waits for."""
    timeline = evidence.timeline
    for entry in launches(evidence):
        start, _ = bounds(timeline, entry)
        for earlier in entry.waits:
            if earlier.spans and bounds(timeline, earlier)[1] > start:
                row, cause = entry.spans[0], earlier.spans[-1]
                yield f"{told(timeline, row)} starts before {told(timeline, cause)}, which it waits for", (row, cause)
            if isinstance(earlier.op, Record) and earlier.op.timed and evidence.costs is not None:
                ends = [bounds(timeline, ahead)[1] for ahead in earlier.waits if ahead.spans]
                fires = max(int(timeline.table[earlier.call, 2]), *ends, 0) + evidence.costs.constants.timed_event
                if start < fires:
                    row = entry.spans[0]
                    yield f"{told(timeline, row)} starts before the stamp it waits for, at {fires} ns", (row,)


@PROGRAMS.state(
    "one-replay-at-a-time",
    forbids="an executable graph that runs twice at once",
    why="its kernels work in one set of buffers, whatever the streams",
    needs=("entries",),
)
def one_replay_at_a_time(evidence: Evidence) -> Found:
    """Replays of one executable follow each other."""
    yield from _one_at_a_time(
        evidence, {id(e): (e.stream[0], e.op.executable) for e in launches(evidence) if isinstance(e.op, Replay)}
    )


@PROGRAMS.state(
    "one-copy-an-engine",
    forbids="two copies in one direction at once",
    why="an engine moves one buffer at a time",
    needs=("entries",),
)
def one_copy_an_engine(evidence: Evidence) -> Found:
    """Copies of one direction follow each other."""
    yield from _one_at_a_time(
        evidence, {id(e): (e.stream[0], e.op.direction) for e in launches(evidence) if isinstance(e.op, Copy)}
    )


def _one_at_a_time(evidence: Evidence, user_of: dict[int, Hashable]) -> Found:
    timeline = evidence.timeline
    users: dict[Hashable, list[tuple[int, int, int]]] = defaultdict(list)
    for entry in launches(evidence):
        if id(entry) in user_of:
            users[user_of[id(entry)]].append((*bounds(timeline, entry), entry.spans[0]))
    for intervals in users.values():
        for (_, end, first), (start, _, second) in pairwise(sorted(intervals)):
            if start < end:
                yield f"{told(timeline, second)} starts while {told(timeline, first)} still runs", (first, second)


@PROGRAMS.state(
    "graph-dependencies",
    forbids="a kernel of a graph that starts before those it waits for, or sooner after them than the device can",
    why="a graph is its dependencies",
    needs=("entries", "costs"),
)
def graph_dependencies(evidence: Evidence) -> Found:
    """Exactly a gap after the last of them where the graph is a chain and has the device to itself.

    Graphs whose kernels share a name are left out: their spans cannot be told apart.
    """
    timeline, costs = evidence.timeline, evidence.costs
    assert costs is not None
    alone = len(list(rows_on(timeline, Place.STREAM))) == 1
    for entry in launches(evidence):
        if not isinstance(entry.op, Replay):
            continue
        graph = entry.op.graph
        span_of = {timeline.names[int(timeline.table[row, 4])]: row for row in entry.spans}
        if len(span_of) != len(graph.kernels) or any(kernel.name not in span_of for kernel in graph.kernels):
            continue
        rows = [span_of[kernel.name] for kernel in graph.kernels]
        after = graph.after or ((), *((i,) for i in range(len(rows) - 1)))
        first = int(timeline.table[rows[0], 1])
        for row, dependencies in zip(rows, after, strict=True):
            gap = costs.constants.graph_join_gap if len(dependencies) > 1 else costs.constants.graph_gap
            ready = max((int(timeline.table[rows[i], 2]) + gap for i in dependencies), default=first)
            start = int(timeline.table[row, 1])
            if start < ready or (start > ready and graph.after is None and alone):
                yield f"{told(timeline, row)} starts at {start}, its dependencies allow {ready} ns", (row,)


@PROGRAMS.state(
    "work-keeps-its-length",
    forbids="a kernel that takes less time than its work, or more without a neighbour, one too many or too few",
    why="a device that is faster or slower than its kernels predicts nothing",
    needs=("entries",),
)
def work_keeps_its_length(evidence: Evidence) -> Found:
    """A copy takes its time; kernels at least theirs together, and exactly where there is no other stream.

    Beside others a kernel is slower only as long as they run: by itself it takes no more than its length. An end under
    sharing is rounded up to the nanosecond.
    """
    timeline = evidence.timeline
    alone = len(list(rows_on(timeline, Place.STREAM))) == 1
    by_itself = _by_itself(timeline)
    assert evidence.entries is not None
    for entry in evidence.entries:
        if isinstance(entry.op, Copy):
            lengths, chain = [entry.op.ns], True
        elif isinstance(entry.op, Kernel):
            lengths, chain = [entry.op.ns], alone
        elif isinstance(entry.op, Replay):
            lengths = [kernel.ns for kernel in entry.op.graph.kernels]
            chain = alone and entry.op.graph.after is None
        else:
            continue
        ran = [int(end - start) for start, end in timeline.table[list(entry.spans), 1:3].reshape(-1, 2).tolist()]
        if len(ran) != len(lengths) or sum(ran) < sum(lengths) or (chain and sorted(ran) != sorted(lengths)):
            work = told(timeline, entry.call)
            yield f"{work} launched {len(lengths)} pieces of {lengths} ns, and {ran} ns ran", (entry.call, *entry.spans)
        undisturbed = sum(by_itself.get(row, 0) for row in entry.spans)  # collectives wait for other devices
        if undisturbed > sum(lengths) + len(lengths):
            work = told(timeline, entry.call)
            yield f"{work} launched {sum(lengths)} ns of work, which ran {undisturbed} ns by itself", entry.spans


def _by_itself(timeline: Timeline) -> dict[int, int]:
    """Of each kernel that is no collective the nanoseconds in which no other kernel of its device runs."""
    kernels = np.flatnonzero(timeline.on_device & (timeline.column("kind") == Kind.KERNEL)).tolist()
    meets = [name.startswith("collective ") for name in timeline.names]
    lonely: dict[int, int] = defaultdict(int)
    changes: dict[int, list[tuple[int, bool, int]]] = defaultdict(list)
    for row in kernels:
        track, start, end, *_ = timeline.table[row].tolist()
        if start < end:
            changes[timeline.tracks[track].rank] += [(start, True, row), (end, False, row)]
    for rank in changes.values():
        running: set[int] = set()
        for (time, starts, row), (later, *_) in pairwise(sorted(rank)):
            (running.add if starts else running.discard)(row)
            if len(running) == 1:
                lonely[min(running)] += later - time
    return {row: ns for row, ns in lonely.items() if not meets[int(timeline.table[row, 4])]}


@PROGRAMS.state(
    "calls-take-their-time",
    forbids="a call that returns before or after its cost, a full queue or a pageable copy say",
    why="host time is what graphs and overlap save: it must be paid exactly once",
    needs=("entries", "costs"),
)
def calls_take_their_time(evidence: Evidence) -> Found:
    """A call returns with its cost, with the start of the launch that makes room, or with the end of a pageable copy.

    Where there are several host threads, an interpreter lock may stretch calls: they take at least that.
    """
    timeline, costs, entries = evidence.timeline, evidence.costs, evidence.entries
    assert costs is not None
    assert entries is not None
    alone = len(list(rows_on(timeline, Place.HOST_THREAD))) == 1
    ahead: dict[Hashable, list[int]] = defaultdict(list)
    replayed = {(rank, executable) for rank in {e.stream[0] for e in entries} for executable in evidence.warm}
    for entry in entries:
        began, returned = timeline.table[entry.call, 1:3].tolist()
        due = began + costs.call(entry.op).ns
        if isinstance(entry.op, Replay) and (entry.stream[0], entry.op.executable) not in replayed:
            replayed.add((entry.stream[0], entry.op.executable))
            due += costs.first_replay(entry.op)
        if entry.takes_a_slot and entry.spans:
            start, end = bounds(timeline, entry)
            starts = ahead[entry.stream]
            if len(starts) >= costs.constants.queue_depth:
                due = max(due, starts[-costs.constants.queue_depth])
            starts.append(start)
            if isinstance(entry.op, Copy) and not entry.op.pinned and end > due:
                due = end + costs.constants.wake_spin
        if returned < due or (alone and returned > due):
            yield f"{told(timeline, entry.call)} was due to return at {due} ns", (entry.call,)


@PROGRAMS.state(
    "no-pause",
    forbids="host time that no span accounts for",
    why="time that nobody spent cannot be hidden or saved",
    needs=("entries",),
)
def no_pause(evidence: Evidence) -> Found:
    """A lone host thread does one thing after the other from time 0 on."""
    timeline = evidence.timeline
    threads = list(rows_on(timeline, Place.HOST_THREAD))
    if len(threads) != 1:
        return
    before = 0
    rows = timeline.table[threads[0][1]]
    for at in sorted(range(len(rows)), key=lambda i: (rows[i, 1], rows[i, 2])):
        if rows[at, 1] > before:
            row = int(threads[0][1][at])
            yield f"{told(timeline, row)} starts after a pause that began at {before} ns", (row,)
        before = max(before, int(rows[at, 2]))


@PROGRAMS.state(
    "one-interpreter",
    forbids="two host threads of one process under its interpreter lock at once",
    why="a second thread hides nothing that Python has to do",
    needs=("entries", "costs"),
)
def one_interpreter(evidence: Evidence) -> Found:
    """What the calls of a process hold the lock for, taken together, fits into the run."""
    timeline, costs = evidence.timeline, evidence.costs
    assert costs is not None
    assert evidence.entries is not None
    held: dict[int, int] = defaultdict(int)
    for entry in evidence.entries:
        held[entry.stream[0]] += costs.call(entry.op).held
    for rank, ns in held.items():
        end = int(timeline.column("end").max())
        if ns > end:
            yield f"calls of rank {rank} hold the interpreter lock for {ns} of {end} ns", ()


@PROGRAMS.state(
    "collectives-meet",
    forbids="a rank that leaves a collective before the others have come and it has run, or at another time than they",
    why="what a rank reads after a collective is what the others wrote before it",
    needs=("entries",),
)
def collectives_meet(evidence: Evidence) -> Found:
    """All ranks leave at once, a collective's time after the last has entered; the n-th of a key meets the n-th."""
    timeline = evidence.timeline
    found: dict[Collective, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for entry in launches(evidence):
        kernels = entry.op.graph.kernels if isinstance(entry.op, Replay) else (entry.op,)
        names = {op.name: op for op in kernels if isinstance(op, Collective)}
        for row in sorted(entry.spans, key=lambda row: int(timeline.table[row, 1])):
            name = timeline.names[int(timeline.table[row, 4])]
            if name in names:
                found[names[name]][entry.stream[0]].append(row)
    for op, rows in found.items():
        for meeting in zip(*rows.values(), strict=False):
            due = int(timeline.table[list(meeting), 1].max()) + op.ns
            for row in meeting:
                if len(meeting) != op.ranks or timeline.table[row, 2] != due:
                    yield (
                        f"{told(timeline, row)} ends, {len(meeting)} of {op.ranks} ranks may leave at {due} ns",
                        (row,),
                    )
