"""Several host threads at random: those of ranks that meet in collectives, and two of one process under its lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from sim.check.strategies.programs import Piece, Program, copies, kernels, programs, replays, small
from sim.effects import Launch, Wait
from sim.program.ops import Collective, Graph, Kernel, Op, Record, Replay, Think, WaitEvent


@dataclass(frozen=True)
class Team:
    """Programs by the names of their host threads, and on which rank each runs."""

    programs: dict[str, Program]
    ranks: dict[str, int]


@st.composite
def neighbours(draw: st.DrawFn) -> Program:
    """A graph or kernels on one stream, and a while later work on others: some of it comes in the middle."""
    first: list[Op] = draw(st.lists(st.one_of(replays(), replays(branches=False), kernels()), max_size=3))
    pieces = [Piece(Launch((*first, Record("e", timed=draw(st.booleans()))), "main"))]
    for stream in draw(st.lists(st.sampled_from(("side", "third", "main")), min_size=1, max_size=4)):
        pieces.append(Piece(Launch((Think(draw(st.one_of(st.just(0), st.integers(0, 200)))),), stream)))
        late = draw(st.lists(st.one_of(kernels(), kernels(), replays(), copies()), min_size=1, max_size=3))
        pieces.append(Piece(Launch((*([WaitEvent("e")] if draw(st.booleans()) else []), *late), stream)))
    return (*pieces, Piece(Wait("device")))


@st.composite
def teams(draw: st.DrawFn) -> Team:
    """One to three ranks with the same collectives, in streams or in graphs; rank 0 may have a second host thread."""
    count = draw(st.integers(1, 3))
    met = draw(st.lists(st.tuples(small, st.sampled_from((0.0, 0.25, 1.0))), max_size=3))
    members = {f"rank {rank}": draw(_member(count, met)) for rank in range(count)}
    ranks = {f"rank {rank}": rank for rank in range(count)}
    if count == 1 or draw(st.booleans()):
        members["other"] = _moved(draw(programs(max_streams=2)))
        ranks["other"] = 0
    return Team(members, ranks)


@st.composite
def _member(draw: st.DrawFn, count: int, met: Sequence[tuple[int, float]]) -> Program:
    """What one rank launches around the collectives: kernels ahead of each, and kernels beside it."""
    pieces: list[Piece] = []
    for number, (ns, sm) in enumerate(met):
        collective = Collective(f"c{number}", count, ns, sm)
        ahead: list[Op] = draw(st.lists(st.one_of(kernels(), st.builds(Think, small)), max_size=3))
        if draw(st.booleans()):
            body: list[Kernel | Collective] = [Kernel("0", "free", 5), collective]
            body += [Kernel(str(i), "free", n) for i, n in enumerate(draw(st.lists(small, max_size=2)), 1)]
            ahead.append(Replay("g", Graph(tuple(body))))
        else:
            ahead.append(collective)
        pieces.append(Piece(Launch(tuple(ahead), "main")))
        if draw(st.booleans()):
            pieces.append(Piece(Launch(tuple(draw(st.lists(kernels(), min_size=1, max_size=2))), "side")))
    pieces.append(Piece(Launch(tuple(draw(st.lists(kernels(), min_size=1, max_size=2))), "main")))
    return (*pieces, Piece(Wait("device")))


def _moved(program: Program) -> Program:
    """The same on streams, with events and executables of its own: a witness ties a stream to one thread."""

    def renamed(op: Op) -> Op:
        if isinstance(op, Record | WaitEvent):
            return replace(op, event=f"other {op.event}")
        return replace(op, executable=f"other {op.executable}") if isinstance(op, Replay) else op

    pieces = []
    for piece in program:
        effect = piece.effect
        if isinstance(effect, Launch):
            effect = Launch(tuple(renamed(op) for op in piece.ops), f"other {effect.stream}")
        elif effect.on != "device":
            effect = Wait(f"other {effect.on}", effect.how)
        pieces.append(Piece(effect))
    return tuple(pieces)
