"""Programs of operations and machines at random.

Times are small so that they often coincide: a tie is where two implementations of one rule part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hypothesis import strategies as st

from sim.effects import Effect, Launch, Loop, Wait
from sim.program.constants import Constants
from sim.program.ops import Copy, Graph, Kernel, Op, Record, Replay, Think, WaitEvent

STREAMS = ("main", "side", "third")
EVENTS = ("e", "f")
FRAMEWORK = {"free": 0, "add": 3, "mul": 17}
"""What a framework adds to a launch, by the calls that ``kernels`` are launched with."""
SM = (0.0, 0.25, 0.5, 1.0)
COSTS = sorted(f.name for f in fields(Constants) if f.name != "queue_depth")
small = st.sampled_from((0, 0, 0, 1, 2, 5, 10, 10, 17, 30, 100, 171))


@dataclass(frozen=True)
class Piece:
    """One effect of a program: operations for a stream, or a wait for something that has been recorded."""

    effect: Launch | Wait

    @property
    def ops(self) -> Sequence[Op]:
        """What it enqueues."""
        return self.effect.work if isinstance(self.effect, Launch) and isinstance(self.effect.work, tuple) else ()


Program = tuple[Piece, ...]


@st.composite
def kernels(draw: st.DrawFn, shares: Sequence[float] = SM) -> Kernel:
    """A kernel of some length, share and call."""
    return Kernel("k", draw(st.sampled_from(sorted(FRAMEWORK))), draw(small), draw(st.sampled_from(shares)))


@st.composite
def replays(draw: st.DrawFn, *, branches: bool = True) -> Replay:
    """A replay of one of two executables; with ``branches``, its graph may be any directed acyclic one.

    The kernels of a graph are named by their position.
    """
    body = tuple(
        Kernel(str(position), kernel.call, kernel.ns, kernel.sm)
        for position, kernel in enumerate(draw(st.lists(kernels(), min_size=1, max_size=5)))
    )
    after = None
    if branches and draw(st.booleans()):
        after = tuple(
            tuple(sorted(draw(st.sets(st.integers(0, i - 1), max_size=2)))) if i else () for i in range(len(body))
        )
    return Replay(draw(st.sampled_from("gh")), Graph(body, after))


def copies(*, pageable: bool = True) -> st.SearchStrategy[Copy]:
    """A copy in either direction."""
    pinned = st.booleans() if pageable else st.just(value=True)
    return st.builds(Copy, st.sampled_from(("h2d", "d2h")), small, st.just(0), pinned)


def operations() -> st.SearchStrategy[Op]:
    """Any operation of a program on one device; kernels twice as often as each other kind."""
    events = st.sampled_from(EVENTS)
    return st.one_of(
        kernels(),
        kernels(),
        replays(),
        copies(),
        st.builds(Record, events, st.booleans()),
        st.builds(WaitEvent, events),
        st.builds(Think, small),
    )


@st.composite
def programs(draw: st.DrawFn, ops: st.SearchStrategy[Any] | None = None, max_streams: int = 3) -> Program:
    """Launches on one to three streams, with waits for the device and for events recorded before."""
    streams = STREAMS[: draw(st.integers(1, max_streams))]
    pieces: list[Piece] = []
    recorded: list[str] = []
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.integers(0, 4)) == 0:
            target = draw(st.sampled_from(["device", *recorded]))
            pieces.append(Piece(Wait(target, draw(st.sampled_from(("spin", "blocking"))))))
        else:
            batch = tuple(draw(st.lists(operations() if ops is None else ops, min_size=1, max_size=7)))
            recorded += [str(op.event) for op in batch if isinstance(op, Record) and op.event not in recorded]
            pieces.append(Piece(Launch(batch, draw(st.sampled_from(streams)))))
    return (*pieces, Piece(Wait("device")))


@st.composite
def constants(draw: st.DrawFn, /, **fixed: int) -> Constants:
    """A machine with a handful of costs, the others zero, and a launch queue that is often short."""
    costs = draw(st.dictionaries(st.sampled_from(COSTS), small, min_size=2, max_size=14))
    costs["timed_event"] = draw(st.sampled_from((0, 0, 17, 1_000)))
    costs["gil_switch_interval"] = draw(st.sampled_from((10, 100, 5_000_000)))
    depth = draw(st.sampled_from((1, 2, 3, 5, 1_021)))
    return Constants(**{**costs, "queue_depth": depth, **fixed})


def loop(program: Program) -> Loop[None]:
    """The host thread that runs a program."""
    for piece in program:
        effect: Effect = piece.effect
        yield effect


def enqueued(program: Program) -> Iterator[tuple[str, Op]]:
    """(stream, operation) in the order of their calls, thinking left out: the position is the correlation id less 1."""
    for piece in program:
        if isinstance(piece.effect, Launch):
            yield from ((piece.effect.stream, op) for op in piece.ops if not isinstance(op, Think))
