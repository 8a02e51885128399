"""What host threads enqueue while a machine runs them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from sim.check.invariant import Entry, Evidence
from sim.effects import Launch, Loop, Phase
from sim.program.calls import HostCosts
from sim.program.frame import Pieces
from sim.program.lowering import Lowering, no_lowering
from sim.program.ops import STEP, Op, Record, Think, WaitEvent
from sim.timeline.spans import Kind, Place, Timeline


class Witness:
    """Stands between loops and a machine, changes nothing, and remembers every operation.

    Each loop is handed over as ``loop(name, loop)`` and the machine's lowering as ``lower``; after the run ``evidence``
    ties the operations to the spans: a thread's calls are in the order in which it enqueued. Events join streams of
    several threads only where a single thread records and waits.
    """

    def __init__(self, lower: Lowering = no_lowering) -> None:
        self._lower = lower
        self._ops: dict[str, list[tuple[str, Op, object]]] = defaultdict(list)
        self._now = ""

    def lower(self, phase: Phase) -> Pieces:
        """What the machine's lowering makes of a phase."""
        pieces = self._lower(phase)
        self._note(pieces, phase)
        return pieces

    def loop(self, name: str, loop: Loop[Any]) -> Loop[Any]:
        """The same loop, watched."""
        answer: Any = None
        while True:
            try:
                effect = loop.send(answer)
            except StopIteration as stop:
                return stop.value
            self._now = name
            if isinstance(effect, Launch) and not isinstance(effect.work, Phase):
                self._note([(effect.stream, effect.work)], effect)
            answer = yield effect

    def _note(self, pieces: Sequence[tuple[str, Sequence[Op]]], launch: object) -> None:
        for stream, ops in pieces:
            self._ops[self._now] += [(stream, op, launch) for op in ops if not isinstance(op, Think)]

    def evidence(self, timeline: Timeline, costs: HostCosts, warm: Iterable[Hashable] = ()) -> Evidence:
        """The run's timeline with what was enqueued; raises ``ValueError`` when its calls are not these."""
        table = timeline.table
        device: dict[int, list[int]] = defaultdict(list)
        for row in timeline.on_device.nonzero()[0].tolist():
            device[int(table[row, 5])].append(row)
        found: dict[int, tuple[int, str, Op, object]] = {}
        for number, track in enumerate(timeline.tracks):
            if track.place is not Place.HOST_THREAD:
                continue
            mine = (table[:, 0] == number) & (table[:, 3] == Kind.CALL) & (table[:, 5] > 0)
            rows = sorted(mine.nonzero()[0].tolist(), key=lambda row: int(table[row, 5]))
            if len(rows) != len(self._ops[track.name]):
                raise ValueError(f"{track.name} made {len(rows)} calls, and enqueued {len(self._ops[track.name])}")
            found |= {int(table[r, 5]): (r, *ops) for r, ops in zip(rows, self._ops[track.name], strict=True)}
        entries: list[Entry] = []
        before: dict[tuple[int, str], list[Entry]] = defaultdict(list)
        recorded: dict[tuple[int, Hashable], tuple[Entry, ...]] = {}
        for correlation, (row, stream, op, launch) in sorted(found.items()):
            rank = timeline.tracks[int(table[row, 0])].rank
            at = rank, stream
            entry = Entry(op, at, row, tuple(device[correlation]), tuple(before[at]))
            entries.append(entry)
            if isinstance(op, Record):
                recorded[rank, id(launch) if op.event is STEP else op.event] = (*entry.waits, entry)
            elif isinstance(op, WaitEvent):
                before[at] = [*before[at], *recorded.get((rank, id(launch) if op.event is STEP else op.event), ())]
            else:
                before[at] = [entry]  # what comes after it comes after all that it waited for
        return Evidence(timeline, costs, tuple(entries), warm=frozenset(warm))
