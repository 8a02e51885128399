"""Small worlds for the emulated device: operations in, spans by the clock out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from gpu.machines.emulated import EmulatedDevice
from gpu.machines.wall import WallMachine
from sim.effects import DEVICE, Launch, Loop, Wait
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Kernel, Op
from sim.serving.source import NoRequests
from sim.timeline.spans import FIELDS, Timeline

MS = 1_000_000


class Span(NamedTuple):
    """A row of a timeline with the names of its track and of itself."""

    track: str
    name: str
    start: int
    end: int
    correlation: int


def kernel(name: str, ns: int = 2 * MS, sm: float = 0.1) -> Kernel:
    """A kernel whose call costs nothing; by default several have room beside each other."""
    return Kernel(name, "bare", ns, sm)


def program(*pieces: tuple[str, Sequence[Op]], last: Hashable = DEVICE) -> Loop[None]:
    """Launch lists of operations, stream by stream, and wait for ``last`` at the end."""
    for stream, ops in pieces:
        yield Launch(ops, stream)
    yield Wait(last)


def run(threads: Loop[Any] | Mapping[str, Loop[Any]], **constants: int) -> dict[str, Span]:
    """All spans by their names, which have to differ, of a device on which only these mechanisms cost anything."""
    loops = threads if isinstance(threads, Mapping) else {"host": threads}
    device = EmulatedDevice(HostCosts(Constants(**constants)))
    found = spans(WallMachine(device, lambda *_: 0).run(loops, NoRequests()))
    return {span.name: span for span in found}


def spans(timeline: Timeline) -> list[Span]:
    """All spans of a timeline, in the order of their starts."""
    columns = [FIELDS.index(name) for name in ("track", "name", "start", "end", "correlation")]
    rows = timeline.table[:, columns].tolist()
    return [Span(timeline.tracks[row[0]].name, timeline.names[row[1]], *row[2:]) for row in rows]
