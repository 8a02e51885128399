"""A program's ops as operations that have a price: what the simulator and the emulated device run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from scenarios import ops as recipe
from scenarios.program import Program
from sim.program.cache import found_by_op
from sim.program.durations import Durations
from sim.program.ops import ENTER_STREAM, Direction, Graph, Kernel, Op, Record, Replay, Think, WaitEvent


class Priced:
    """Makes operations whose kernels and copies last as long as a profile says.

    ``entering`` is what it takes a host to enter another stream (ns), ``found`` the share of its bytes that an
    op's kernel finds in the cache; nothing where it is not told.
    """

    def __init__(self, durations: Durations, entering: int = 0, found: Mapping[recipe.Op, float] | None = None) -> None:
        self._durations = durations
        self._entering = Think(entering, ENTER_STREAM) if entering else None
        self._found = found or {}

    @classmethod
    def of(cls, program: Program, durations: Durations, entering: int = 0) -> Self:
        """For the ops of a program, which runs over and over."""
        products = durations.products
        found = None if products is None else found_by_op((thread.ops for thread in program.threads), products.cache)
        return cls(durations, entering, found)

    def operation(self, op: recipe.Op) -> Op:
        """The operation with its duration; products are of a two-byte type, additions of float32."""
        durations = self._durations
        match op:
            case recipe.Matmul():
                return durations.matmul(kernel_name(op), op.m, op.n, op.k, self._found.get(op, 0.0))
            case recipe.Add():
                return durations.add(kernel_name(op), op.elements, self._found.get(op, 0.0))
            case recipe.Sleep():
                return Kernel(kernel_name(op), "sleep", op.duration, op.sm)
            case recipe.Copy(direction="d2d"):
                return durations.copy_on_device(op.bytes)
            case recipe.Copy():
                return durations.copy(direction(op), op.bytes, pinned=op.pinned)
            case recipe.Record():
                return Record(op.event, op.timed)
            case recipe.WaitEvent():
                return WaitEvent(op.event)
            case _:
                raise TypeError(f"{op!r} is no operation of a stream")

    def replay(self, name: str, body: Sequence[tuple[str, Op]], graph: Graph) -> Replay:
        """A launch of the graph as its capture understood it."""
        del body
        return Replay(name, graph)

    def enter(self, stream: str) -> Think | None:
        """Entering a stream, whichever it is."""
        del stream
        return self._entering


def kernel_name(op: recipe.Matmul | recipe.Add | recipe.Sleep) -> str:
    """What timelines call the kernel of an op, whoever runs it."""
    return f"matmul {op.m}x{op.k}x{op.n}" if isinstance(op, recipe.Matmul) else op.op


def direction(op: recipe.Copy) -> Direction:
    """The direction of a copy between host and device."""
    assert op.direction != "d2d"
    return op.direction
