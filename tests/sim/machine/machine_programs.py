"""Programs run on the reference machine, and the order of their entries worked out from the program alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from sim.check.strategies.programs import (
    EVENTS,
    FRAMEWORK,
    Piece,
    Program,
    constants,
    copies,
    enqueued,
    kernels,
    loop,
    operations,
    programs,
    replays,
    small,
)
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Copy, Kernel, Op, Record, Replay, WaitEvent
from sim.timeline.spans import Kind, Timeline

__all__ = [
    "EVENTS", "FRAMEWORK", "Entry", "Interval", "Piece", "Program", "constants", "copies", "enqueued", "entries",
    "execute", "kernels", "loop", "operations", "programs", "replays", "small",
]  # fmt: skip

Interval = tuple[int, int]


def execute(program: Program, machine_constants: Constants) -> Timeline:
    """The program's timeline; its one host thread is called ``host``."""
    return Machine(HostCosts(machine_constants, FRAMEWORK)).run({"host": loop(program)})


@dataclass
class Entry:
    """One enqueued operation: its call, the device time that it took, and the entries that have to end before."""

    op: Op
    stream: str
    call: Interval
    kernels: list[Interval] = field(default_factory=list)
    after: list[Entry] = field(default_factory=list)

    @property
    def start(self) -> int:
        return min(start for start, _ in self.kernels)

    @property
    def end(self) -> int:
        return max(end for _, end in self.kernels)

    @property
    def takes_a_slot(self) -> bool:
        return isinstance(self.op, Kernel | Replay | Copy)


def entries(program: Program, timeline: Timeline) -> list[Entry]:
    """The program's entries with their times, and with their order worked out from the program alone."""
    calls: dict[int, Interval] = {}
    device: dict[int, list[Interval]] = defaultdict(list)
    for _, start, end, kind, _, correlation, _ in timeline.table.tolist():
        if kind == Kind.CALL:
            calls[correlation] = (start, end)
        elif kind in (Kind.KERNEL, Kind.MEMCPY):
            device[correlation].append((start, end))
    found = [
        Entry(op, stream, calls[number], device[number])
        for number, (stream, op) in enumerate(enqueued(program), start=1)
    ]
    before: dict[str, list[Entry]] = defaultdict(list)  # what the next entry of a stream comes after
    recorded: dict[object, list[Entry]] = {}
    for entry in found:
        if isinstance(entry.op, Record):
            recorded[entry.op.event] = list(before[entry.stream])
        elif isinstance(entry.op, WaitEvent):
            before[entry.stream] += recorded.get(entry.op.event, [])
        else:
            entry.after = list(before[entry.stream])
            before[entry.stream].append(entry)
    return found
