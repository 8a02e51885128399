"""What a program's kernels find in the device's L2 cache of what they, or others before them, have used."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from scenarios import ops as recipe

Use = tuple[Hashable, int]
"""A buffer and how many of its bytes a kernel reads or writes."""
FLOAT32, BF16 = 4, 2


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache that forgets what was used least recently, by bytes.

    The distance of a use is how many bytes of different buffers were used since the last use of this one, itself
    included. Up to ``whole`` all of a buffer is found again, from ``none`` on nothing, and in between a share that
    falls along a smooth step: a line may lie in both halves of the cache, for the multiprocessors near each, so that
    what is read by all takes up to twice its size. Both ends are measured. Written bytes count as read ones do. Left
    out: sets, the order within a buffer, and hints by which a kernel has lines kept or dropped.
    """

    whole: int
    none: int

    def found(self, distance: int) -> float:
        """The share of a buffer that is found again at this distance."""
        way = min(1.0, max(0.0, (distance - self.whole) / (self.none - self.whole)))
        return 1 - way * way * (3 - 2 * way)


def found_shares(uses: Sequence[Sequence[Use]], cache: Cache) -> list[float]:
    """The share of its bytes that each kernel of a row finds, when the row runs over and over."""
    recent: dict[Hashable, int] = {}  # from the least recently used on
    shares: list[float] = []
    for _ in range(2):  # from the second round on they are all alike
        shares = [_share(recent, kernel, cache) for kernel in uses]
    return shares


def _share(recent: dict[Hashable, int], kernel: Sequence[Use], cache: Cache) -> float:
    found = sum(nbytes * cache.found(_distance(recent, buffer, cache.none)) for buffer, nbytes in kernel)
    for buffer, nbytes in kernel:
        recent.pop(buffer, None)
        recent[buffer] = nbytes
    whole = sum(nbytes for _, nbytes in kernel)
    return found / whole if whole else 0.0


def _distance(recent: dict[Hashable, int], buffer: Hashable, enough: int) -> int:
    """The distance of a use, ``enough`` where it is at least that."""
    distance = 0
    for other, nbytes in reversed(recent.items()):
        distance += nbytes
        if distance >= enough:
            break
        if other == buffer:
            return distance
    return enough


def found_by_op(threads: Iterable[tuple[recipe.Op, ...]], cache: Cache) -> dict[recipe.Op, float]:
    """For each op of a program the share of its bytes that it finds, the mean over its runs.

    Equal ops work on the same tensors, as they do for real. Threads count one after the other.
    """
    row = [op for ops in threads for op in unrolled(ops)]
    shares = found_shares([list(buffers(op)) for op in row], cache)
    each: dict[recipe.Op, list[float]] = {}
    for op, share in zip(row, shares, strict=True):
        each.setdefault(op, []).append(share)
    return {op: sum(found) / len(found) for op, found in each.items()}


def unrolled(ops: tuple[recipe.Op, ...]) -> Iterator[recipe.Op]:
    """The products and additions of a program, in the order of their calls."""
    for op in ops:
        match op:
            case recipe.Repeat():
                for _ in range(op.times):
                    yield from unrolled(op.ops)
            case recipe.Graph():
                for _ in range(op.replays):
                    yield from unrolled(op.ops)
            case recipe.Matmul() | recipe.Add():
                yield op


def buffers(op: recipe.Op) -> Iterator[Use]:
    """What an op reads and writes."""
    match op:
        case recipe.Matmul():
            sizes: tuple[int, ...] = op.m * op.k * BF16, op.k * op.n * BF16, op.m * op.n * BF16
        case recipe.Add():
            sizes = (op.elements * FLOAT32,) * 3
        case _:
            return
    for position, nbytes in enumerate(sizes):
        yield (op, position), nbytes
