"""The laws of a steady step's period: what overlap can gain, and what it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sim.check.invariant import Evidence, Found, Invariants
from sim.check.timelines import calls_of, rows_on, slack
from sim.timeline.metrics import steady
from sim.timeline.spans import Column, Kind, Place, Timeline

PERIODS = Invariants()
"""Every law of periods, by name. They ask nothing of a run that does not meet their preconditions."""
MEASURED = 1.25
"""By how much what constants allow may be longer on a real device, where gaps and latencies spread."""


@dataclass(frozen=True, slots=True)
class Steady:
    """The steady steps of a closed batch: their number, and what they took in all, in nanoseconds.

    ``period`` lies between their deliveries, ``pace`` between their last kernels on the stream that works most;
    ``device`` is the time of its ``kernels``, ``beside`` that of copies and of other streams, ``host`` what the thread
    worked, and ``least`` what it worked for these steps, but for one: a loop ahead begins one early. It is
    ``ahead`` if it launched each whole before it waited for the one before.
    """

    steps: int
    period: int
    pace: int
    device: int
    beside: int
    host: int
    least: int
    kernels: int
    ahead: bool


def steady_steps(evidence: Evidence) -> Steady | None:
    """The steady steps of a run, None where the preconditions of the laws do not hold.

    These are: a closed batch whose rows all end by length, one host thread, one device, a launch queue that is never
    full, and full batches enough to leave the first and the last out.
    """
    timeline = evidence.timeline
    served, deliveries = list(timeline.served), list(timeline.deliveries)
    closed = len({s.arrival for s in served}) == 1 and all(s.reason == "length" for s in served)
    threads, ranks = list(rows_on(timeline, Place.HOST_THREAD)), {track.rank for track in timeline.tracks}
    if not closed or len(threads) != 1 or len(ranks) != 1 or _fills(evidence):
        return None
    bounds = steady(deliveries)
    numbers = [delivery.step for delivery in bounds]
    if len(bounds) < 3 or numbers != list(range(numbers[0], numbers[-1] + 1)):
        return None
    table, step, kind = timeline.table, timeline.column("step"), timeline.column("kind")
    inside = (step > numbers[0]) & (step <= numbers[-1]) & timeline.on_device
    kernels = timeline.on_device & (kind == Kind.KERNEL)
    if not (inside & kernels).any():
        return None
    lengths, track = timeline.column("end") - timeline.column("start"), timeline.column("track")
    main = kernels & (track == np.bincount(track[inside & kernels], lengths[inside & kernels]).argmax())
    ends = [int(table[main & (step == n), 2].max(initial=-1)) for n in (numbers[0], numbers[-1])]
    if ends[0] < 0:
        return None
    first, last = bounds[0].time, bounds[-1].time
    thread = table[threads[0][1]]
    own = thread[(thread[:, 3] != Kind.WAIT) & (thread[:, 3] != Kind.NO_WORK)]
    work = own[:, 2].clip(first, last) - own[:, 1].clip(first, last)
    mine = own[(own[:, 6] > numbers[0]) & (own[:, 6] <= numbers[-1])]
    each = np.bincount(mine[:, 6] - numbers[0], mine[:, 2] - mine[:, 1])
    return Steady(
        steps=len(bounds) - 1, period=last - first, pace=ends[1] - ends[0], device=_union(table[inside & main, 1:3]),
        beside=int(lengths[inside & ~main].sum()), host=int(work.sum()), least=int(each.sum() - each.max()),
        kernels=int((inside & main).sum()),
        ahead=_ahead(timeline, numbers),
    )  # fmt: skip


def _union(spans: Column) -> int:
    """Time in which one or more of these spans run, from starts and ends."""
    total, reached = 0, -1
    for start, end in sorted(spans.tolist()):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _fills(evidence: Evidence) -> bool:
    """Whether a stream's launch queue is full at the end of a call."""
    timeline = evidence.timeline
    depth = evidence.costs.constants.queue_depth if evidence.costs is not None else 1021
    call, device = calls_of(timeline)
    device, call = device[call >= 0], call[call >= 0]
    track, start = timeline.column("track")[device], timeline.column("start")[device]
    for stream in np.unique(track).tolist():
        mine = track == stream
        entries, first = np.unique(call[mine], return_index=True)
        begun = np.sort(start[mine][first])
        returned = np.sort(timeline.column("end")[entries])
        waiting = np.arange(1, len(returned) + 1) - np.searchsorted(begun, returned, side="right")
        if len(waiting) and int(waiting.max()) >= depth:
            return True
    return False


def _ahead(timeline: Timeline, numbers: list[int]) -> bool:
    """Whether each step was launched before the wait for the one before it began."""
    table, step, kind = timeline.table, timeline.column("step"), timeline.column("kind")
    launches, waits = timeline.launching, kind == Kind.WAIT
    for before, number in pairwise(numbers):
        waited, launched = table[waits & (step == before), 1], table[launches & (step == number), 2]
        if not len(waited) or not len(launched) or launched.max() > waited.max():
            return False
    return True


@PERIODS.state(
    "period-floor",
    forbids="steady steps that follow each other faster than the device or the host thread works",
    why="overlap hides the one behind the other, and neither behind nothing",
)
def period_floor(evidence: Evidence) -> Found:
    """A period is at least the larger of a step's device time and its host time."""
    found = steady_steps(evidence)
    if found is None:
        return
    error = evidence.timeline.clock_error
    if found.pace + error < found.device:
        yield f"{found.steps} steps end within {found.pace} ns, their kernels take {found.device} ns", ()
    if found.period < found.least:
        told = f"the host works {found.least} ns for all but one of them"
        yield f"{found.steps} steps are delivered within {found.period} ns, {told}", ()


@PERIODS.state(
    "period-ceiling",
    forbids="steady steps that take longer than the slower of device and host, a late round trip included",
    why="time that neither device nor host needs is lost by the loop between them",
    needs=("costs",),
)
def period_ceiling(evidence: Evidence) -> Found:
    """Under overlap a period is at most the larger of device time, and host time with a round trip; else their sum.

    A round trip has every latency and gap of the machine, the copies, and a wake-up: what the host launches late, the
    device ends late, and the host hears of it late.
    """
    found = steady_steps(evidence)
    if found is None:
        return
    assert evidence.costs is not None
    constants = evidence.costs.constants
    gaps = max(constants.stream_gap, constants.step_gap, constants.graph_gap, constants.graph_join_gap)
    wake = max(constants.wake_spin, constants.wake_device)
    trip = slack(constants, found.kernels // found.steps) + wake + evidence.costs.scaled(constants.event_sync_call)
    device = found.device + gaps * found.kernels + (constants.replay_gap + constants.stream_switch) * found.steps
    host = found.host + found.beside + trip * found.steps
    due = max(device, host) if found.ahead else device + host
    due = due if evidence.simulated else round(due * MEASURED)
    if found.period > due + trip + device // found.steps:  # the first may have been early, and the last late
        loop = "ahead of the wait for the one before" if found.ahead else "after it"
        yield f"{found.steps} steps, launched {loop}, take {found.period} ns, {due} ns are due", ()
