"""Steps that differ in their sizes alone share a frame: which operation comes where."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from sim.program.ops import Graph, Op, Replay

Pieces = Sequence[tuple[str, Sequence[Op]]]
"""Operations stream by stream, in the order of their calls."""


@dataclass(frozen=True, slots=True)
class Body:
    """A replay whose kernels, one after the other, are positions in a step's operations."""

    executable: Hashable
    kernels: tuple[int, ...]


Item = int | Body | Op
"""A position in a step's operations, a graph of such positions, or an operation that every step has as it is."""


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """The order of a step's calls. ``filled`` with other operations it is another step of the same kind.

    Operations that fill the same position differ in ``ns``, ``flops`` and ``bytes`` alone: the host pays the same
    for all of them. ``ops`` are those of one such step.
    """

    pieces: tuple[tuple[str, tuple[Item, ...]], ...]
    ops: tuple[Op, ...]

    @classmethod
    def of(cls, pieces: Pieces, ops: Sequence[Op]) -> Frame:
        """The frame of some pieces made from ``ops``; what is not one of these objects belongs to the frame."""
        at = {id(op): position for position, op in reversed(list(enumerate(ops)))}

        def item(op: Op) -> Item:
            if isinstance(op, Replay) and op.graph.after is None and all(id(k) in at for k in op.graph.kernels):
                return Body(op.executable, tuple(at[id(k)] for k in op.graph.kernels))
            return at.get(id(op), op)

        return cls(tuple((stream, tuple(map(item, enqueued))) for stream, enqueued in pieces), tuple(ops))

    def filled(self, ops: Sequence[Op]) -> Pieces:
        """The pieces of a step with these operations."""

        def op(item: Item) -> Op:
            if isinstance(item, int):
                return ops[item]
            if isinstance(item, Body):
                return Replay(item.executable, Graph(tuple(ops[k] for k in item.kernels)))  # type: ignore[misc]
            return item

        return [(stream, [op(item) for item in items]) for stream, items in self.pieces]
