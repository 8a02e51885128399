"""Micro-benchmarks, each as small as the mechanism that it is about.

A program yields effects, so a virtual machine predicts it and a GPU can run it. Kernels, graphs and shields are given
by the caller. What is read is in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sim.effects import DEVICE, Effect, How, Launch, Loop, Wait
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.ops import Graph, Kernel, Op, Record, Replay, Think, WaitEvent
from sim.timeline.spans import Column, Kind, Timeline

MAIN = "main"


@dataclass(frozen=True)
class Micro:
    """A micro-benchmark: ``threads`` makes its loops afresh, ``read`` finds its number in what they did."""

    threads: Callable[[], dict[str, Loop[None]]]
    read: Callable[[Timeline], int]

    def predict(self, costs: HostCosts) -> int:
        """The number by the reference machine."""
        return self.read(Machine(costs).run(self.threads()))


def _single(effects: Sequence[Effect], read: Callable[[Timeline], int]) -> Micro:
    def loop() -> Loop[None]:
        for effect in effects:  # noqa: UP028 - `yield from` a list would not take the machine's answers
            yield effect

    return Micro(lambda: {MAIN: loop()}, read)


def calls(timeline: Timeline, name: str) -> Column:
    """The calls of this name, rows of the timeline's table in time order."""
    wanted = timeline.names.index(name) if name in timeline.names else -1
    rows: Column = timeline.table[(timeline.column("kind") == Kind.CALL) & (timeline.column("name") == wanted)]
    return rows


def lasting(rows: Column) -> Column:
    """How long each of these spans took."""
    return rows[:, 2] - rows[:, 1]


def between_events(timeline: Timeline) -> int:
    """From the first recorded event to the last, both timed, as the device sees them.

    An event fires when its call has returned and all that was enqueued before it is done. Both stamps come equally
    late after that, which cancels out.
    """
    records = calls(timeline, "cudaEventRecord")
    device = timeline.table[timeline.on_device]

    def fired(record: Column) -> int:
        before = device[device[:, 5] < record[5]]
        return max(int(record[2]), int(before[:, 2].max(initial=0)))

    return fired(records[-1]) - fired(records[0])


def _to_the_end(first: str = "", number: int = 0) -> Callable[[Timeline], int]:
    """From the start of a call, or of the run, to the return of the last wait."""

    def read(timeline: Timeline) -> int:
        start = int(calls(timeline, first)[number][1]) if first else 0
        return int(timeline.column("end").max()) - start

    return read


def chain(kernel: Kernel, n: int) -> Micro:
    """``n`` kernels launched one by one onto an idle device, and a wait for it: the whole time."""
    return _single([Launch([kernel] * n, MAIN), Wait(DEVICE)], _to_the_end())


def chain_host(kernel: Kernel, n: int) -> Micro:
    """The same chain, until its last launch returns."""
    return _single([Launch([kernel] * n, MAIN)], lambda timeline: int(calls(timeline, "cudaLaunchKernel")[-1][2]))


def first_replay(graph: Graph) -> Micro:
    """The first launch of a graph on an idle device, and a wait for it."""
    return _single([Launch([Replay("graph", graph)], MAIN), Wait(DEVICE)], _to_the_end())


def replay(graph: Graph) -> Micro:
    """A later launch of a graph on an idle device, and a wait for it."""
    launch = Launch([Replay("graph", graph)], MAIN)
    return _single([launch, Wait(DEVICE), launch, Wait(DEVICE)], _to_the_end("cudaGraphLaunch", 1))


def replays_back_to_back(graph: Graph, n: int) -> Micro:
    """``n`` replays between two events, time a replay; the graph has been launched before."""
    ops: list[Op] = [Record("begin", timed=True), *([Replay("graph", graph)] * n), Record("end", timed=True)]
    warm: list[Effect] = [Launch([Replay("graph", graph)], MAIN), Wait(DEVICE)]
    return _single([*warm, Launch(ops, MAIN), Wait(DEVICE)], lambda timeline: between_events(timeline) // n)


def busy_calls(op: Op, n: int, shield: Kernel, call: str) -> Micro:
    """Median time of ``n`` calls that enqueue ``op`` while the device is busy with the shield."""
    effects: list[Effect] = [Launch([op], MAIN), Wait(DEVICE), Launch([shield, *([op] * n)], MAIN), Wait(DEVICE)]
    return _single(effects, lambda timeline: int(np.median(lasting(calls(timeline, call)[-n:]))))


def behind_shield(shield: Kernel, launches: Sequence[Launch]) -> Micro:
    """Device time of some launches, between two events behind a kernel that hides the time the host needs for them.

    Where they need longer than the shield lasts, this is host time: the caller's business.
    """
    begin, end = Launch([shield, Record("begin", timed=True)], MAIN), Launch([Record("end", timed=True)], MAIN)
    return _single([begin, *launches, end, Wait(DEVICE)], between_events)


def forked(streams: dict[str, Sequence[Op]], *, in_turns: bool) -> list[Launch]:
    """Operations of several streams that start together and are joined, for ``behind_shield``.

    They are launched in turns, one of each stream, or one stream after the other.
    """
    fork = [
        launch for s in streams for launch in (Launch([Record(("fork", s))], MAIN), Launch([WaitEvent(("fork", s))], s))
    ]
    if in_turns:
        work = [
            Launch([op], s) for ops in zip(*streams.values(), strict=True) for s, op in zip(streams, ops, strict=True)
        ]
    else:
        work = [Launch(ops, s) for s, ops in streams.items()]
    join = [
        launch for s in streams for launch in (Launch([Record(("join", s))], s), Launch([WaitEvent(("join", s))], MAIN))
    ]
    return [*fork, *work, *join]


def hops(kernel: Kernel, n: int, shield: Kernel, *, cross: bool) -> Micro:
    """``n`` kernels, each after the one before: within a stream, or to and fro between two through events."""
    work = []
    for i in range(n):
        stream = "b" if cross and i % 2 else "a"
        after = [WaitEvent(i - 1)] if cross and i else []
        work.append(Launch([*after, kernel, Record(i)], stream))
    ends = forked({"a": (), "b": ()}, in_turns=False)
    return behind_shield(shield, [*ends[:4], *work, *ends[-4:]])


def wake(kernel: Kernel, how: How) -> Micro:
    """How much longer than the kernel it takes to launch it and to wait for its event."""
    effects: list[Effect] = [Launch([kernel, Record("done")], MAIN), Wait("done", how)]
    return _single(effects, lambda timeline: _to_the_end()(timeline) - kernel.ns)


def beside_python(kernel: Kernel, n: int, python_ns: int) -> Micro:
    """``n`` launches of a thread beside one that runs pure Python for ``python_ns``: time a launch."""

    def python() -> Loop[None]:
        yield Launch([Think(python_ns, "python")])

    def launcher() -> Loop[None]:
        yield Launch([kernel] * n, MAIN)

    return Micro(
        lambda: {"python": python(), "launcher": launcher()},
        lambda timeline: int(calls(timeline, "cudaLaunchKernel")[-1][2]) // n,
    )


def first_blocked(shield: Kernel, launches: Sequence[Launch], call: str, longer_than: int) -> Micro:
    """Which of the calls of this name that follow the shield, counted from 0, first takes longer; -1 for none."""

    def read(timeline: Timeline) -> int:
        rows = calls(timeline, call)
        behind = rows[rows[:, 5] > 1]
        blocked = np.flatnonzero(lasting(behind) > longer_than)
        return int(blocked[0]) if len(blocked) else -1

    return _single([Launch([shield], MAIN), *launches, Wait(DEVICE)], read)
