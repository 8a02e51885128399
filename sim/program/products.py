"""How long products and additions of a program take, one after the other with their like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scenarios.profile import ProgramKernels
from sim.program.cache import BF16, FLOAT32, Cache

Tile = tuple[int, int]
FIRST = 256
"""Steps until a block's pipeline of loads is full, four tiles of 64: so long each waits for the one before."""
NEARLY = 1.05
"""Of grids that take hardly longer than the fastest the smallest is taken, as the library does."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A product cut into tiles: ``waves`` of blocks run one after the other, at most one a multiprocessor."""

    tile: Tile
    blocks: int
    waves: int


def grids(m: int, n: int, tiles: Sequence[Tile], multiprocessors: int) -> list[Grid]:
    """The ways to cut a product of ``m`` rows and ``n`` columns, each tile lying either way."""
    found = []
    for height, width in {turned for tile in tiles for turned in (tile, tile[::-1])}:
        blocks = -(-m // height) * -(-n // width)
        found.append(Grid((height, width), blocks, -(-blocks // multiprocessors)))
    return sorted(found, key=lambda grid: (grid.waves, grid.tile))


class Products:
    """Prices from a profile's ``programs`` table, in nanoseconds.

    A product of [m, k] by [k, n] is cut into tiles, of sizes that the library was seen to use. Each wave of blocks goes
    through the inner dimension step by step, and a step takes a latency and a tile's arithmetic at the rate of one
    multiprocessor. That, or moving the bytes if it takes longer, comes on top of a floor and of filling the pipeline:
    out of the cache at its bandwidth where they are found in it, else out of memory, after a wait for the first of
    them. Half of them found is half of either. The tile is the fastest one. Left out: sums split over blocks, tiles
    between those listed, clocks that fall when the power limit is reached, and that a library may choose worse.
    """

    def __init__(self, costs: ProgramKernels, multiprocessors: int) -> None:
        self._costs = costs
        self._multiprocessors = multiprocessors
        self.cache = Cache(costs.found_up_to, costs.lost_from)

    def matmul(self, m: int, n: int, k: int, found: float) -> tuple[float, float]:
        """Nanoseconds, and the share of the multiprocessors that the blocks take."""
        timed = self._timed(m, n, k)
        steps = min(ns for ns, _ in timed)
        floor = self._costs.floor + min(k, FIRST) * self._costs.per_1000_first_steps / 1000
        ns = self._ns(floor, steps, BF16 * (m * k + k * n + m * n), found)
        blocks = min(grid.blocks for took, grid in timed if floor + took <= NEARLY * (floor + steps))
        return ns, min(1.0, blocks / self._multiprocessors)

    def add(self, elements: int, found: float) -> float:
        """Nanoseconds of an addition of two vectors."""
        return self._ns(self._costs.add_floor, 0.0, 3 * FLOAT32 * elements, found)

    def work(self, m: int, n: int, k: int) -> tuple[int, int]:
        """Steps through the inner dimension, and operations of one multiprocessor, of the fastest grid."""
        _, grid = min(self._timed(m, n, k), key=lambda each: each[0])
        height, width = grid.tile
        return grid.waves * k, 2 * grid.waves * k * height * width

    def moves(self, m: int, n: int, k: int, *, kept: bool) -> bool:
        """Whether moving a product's bytes takes longer than its steps."""
        steps = min(ns for ns, _ in self._timed(m, n, k))
        rate = self._costs.cache if kept else self._costs.memory
        return 1e9 * BF16 * (m * k + k * n + m * n) / rate > steps

    def _timed(self, m: int, n: int, k: int) -> list[tuple[float, Grid]]:
        costs = self._costs
        return [
            (grid.waves * k * (costs.per_1000_steps / 1000 + 2e9 * grid.tile[0] * grid.tile[1] / costs.flops), grid)
            for grid in grids(m, n, costs.tiles, self._multiprocessors)
        ]

    def _ns(self, floor: float, steps: float, nbytes: int, found: float) -> float:
        costs = self._costs
        kept = floor + max(steps, 1e9 * nbytes / costs.cache)
        fetched = floor + costs.miss + max(steps, 1e9 * nbytes / costs.memory)
        return fetched + found * (kept - fetched)
