"""What goes wrong for once on a machine: a slow kernel, a late event, a host thread that stalls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sim.effects import Phase
from sim.program.frame import Pieces
from sim.program.lowering import Lowering
from sim.program.ops import Graph, Kernel, Op, Record, Replay, Think

US = 1_000


@dataclass(frozen=True, slots=True)
class Disturbance:
    """In the step of this number something takes so many microseconds more.

    ``slow-kernel``: the first kernel that is launched, or the first of the first graph. ``late-event``: what is ahead
    of the first event that is recorded. ``stalled-host``: the thread that launches, before its first call.
    """

    what: Literal["slow-kernel", "late-event", "stalled-host"]
    step: int
    us: int

    def __str__(self) -> str:
        """Such as ``slow-kernel of 300 us in step 2``."""
        return f"{self.what} of {self.us} us in step {self.step}"


def disturbed(lower: Lowering, disturbances: Sequence[Disturbance]) -> Lowering:
    """The same lowering with these disturbances in it."""

    def lowered(phase: Phase) -> Pieces:
        pieces: Pieces = lower(phase)
        for one in disturbances:
            if one.step == phase.batch.index:
                pieces = _with(one, pieces)
        return pieces

    return lowered


def _with(one: Disturbance, pieces: Pieces) -> Pieces:
    """The pieces with the disturbance at the first place that it can have."""
    changed: list[tuple[str, Sequence[Op]]] = []
    done = False
    for stream, ops in pieces:
        mine: list[Op] = []
        for op in ops:
            found = [op] if done else _place(one, op)
            done = done or found != [op]
            mine += found
        changed.append((stream, mine))
    return changed


def _place(one: Disturbance, op: Op) -> list[Op]:
    ns = one.us * US
    match one.what, op:
        case "stalled-host", _:
            return [Think(ns, "stall"), op]
        case "late-event", Record():
            return [Kernel("late", "late", ns), op]
        case "slow-kernel", Kernel():
            return [replace(op, ns=op.ns + ns)]
        case "slow-kernel", Replay():
            first, *others = op.graph.kernels
            return [replace(op, graph=Graph((replace(first, ns=first.ns + ns), *others), op.graph.after))]
    return [op]
