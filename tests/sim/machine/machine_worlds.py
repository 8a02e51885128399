"""Small worlds for the machine: a few operations in, spans as (name, start, end) out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from sim.effects import DEVICE, Launch, Loop, Wait
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Graph, Kernel, Op, Replay
from sim.timeline.spans import Timeline

Span = tuple[str, int, int]
Piece = tuple[str, Sequence[Op]]


def kernel(name: str, ns: int, sm: float = 1.0) -> Kernel:
    """A kernel whose call has no cost in the framework."""
    return Kernel(name, "bare", ns, sm)


def chain(executable: Hashable, *ns: int) -> Replay:
    """A replay of a graph of kernels ``g0``, ``g1``... one after the other."""
    return Replay(executable, Graph(tuple(kernel(f"g{i}", n) for i, n in enumerate(ns))))


def program(*pieces: Piece, last: Hashable = DEVICE) -> Loop[None]:
    """Launch lists of operations, stream by stream, and wait for ``last`` at the end."""
    for stream, ops in pieces:
        yield Launch(ops, stream)
    yield Wait(last)


def run(threads: Loop[Any] | Mapping[str, Loop[Any]], **constants: int) -> Timeline:
    """What happens on a machine on which only these mechanisms cost anything; a lone loop is called ``host``."""
    loops = threads if isinstance(threads, Mapping) else {"host": threads}
    return Machine(HostCosts(Constants(**constants))).run(loops)


def spans(timeline: Timeline, track: str = "main") -> list[Span]:
    """The spans of one track, in time order."""
    rows = timeline.on_track(track)
    return [(name, int(row[1]), int(row[2])) for name, row in zip(timeline.span_names(rows), rows, strict=True)]


def host(timeline: Timeline, thread: str = "host") -> list[Span]:
    """The spans of one host thread, in time order."""
    return spans(timeline, thread)
