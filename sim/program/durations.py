"""How long a kernel takes, alone on the device."""

from __future__ import annotations

from collections.abc import Callable

from scenarios.profile import Profile
from sim.program.grid import by_last, grids, interpolate
from sim.program.ops import Copy, Direction, Kernel
from sim.program.prompts import Chunk, PromptCurves
from sim.program.splits import regime

DECODE, PREFILL = "attention_decode", "attention_prefill"


class Durations:
    """Prices kernels and copies from a profile, in integer nanoseconds; ``scale`` multiplies those of kernels.

    A kernel takes a floor and, on top, the larger of its arithmetic at the kind's rate and its traffic at the kind's
    bandwidth. Where the profile holds a measured table for the shape, the table decides: between its rows on a
    straight line, beyond its ends in proportion to the roofline. Attention has tables over
    two sizes: batch and context, or number and length of prompts.
    """

    def __init__(self, profile: Profile, scale: float = 1.0) -> None:
        self._kinds = profile.kernels
        self._copies = profile.copies
        self._scale = scale
        self._tables = {
            (kind, tuple(table.shape)): table.points for kind, cost in profile.kernels.items() for table in cost.table
        }
        self._decode = grids(
            ((tuple(table.shape), table.points) for table in profile.kernels[DECODE].table),
            lambda rows, heads: regime(rows, heads[1], heads[2], profile.device.multiprocessors),
        )
        self._prefill = {
            shape: PromptCurves(curves)
            for shape, curves in by_last((tuple(table.shape), table.points) for table in profile.kernels[PREFILL].table)
        }
        self._known: dict[tuple[object, ...], Kernel] = {}

    def kernel(
        self,
        name: str,
        call: str,
        kind: str,
        *,
        flops: int = 0,
        nbytes: int = 0,
        rows: int = 0,
        shape: tuple[int, ...] = (),
    ) -> Kernel:
        """A kernel of a profile's ``kind`` that does this work; ``rows`` and ``shape`` find a measured table."""
        key = (name, call, kind, flops, nbytes, rows, shape)
        kernel = self._known.get(key)
        if kernel is None:
            ns = max(1, round(self._ns(kind, flops, nbytes, rows, shape) * self._scale))
            kernel = self._known[key] = Kernel(name, call, ns, self._kinds[kind].sm, flops, nbytes)
        return kernel

    def prefill_attention(
        self, shape: tuple[int, int, int], chunks: tuple[Chunk, ...], work: Callable[[int, int], tuple[int, int]]
    ) -> Kernel:
        """Causal attention of all prompts of a step, whole or in chunks, as one kernel.

        ``work`` of a chunk's cached and new tokens is operations and bytes. A shape that was not measured takes one
        roofline for all chunks.
        """
        flops, nbytes = (sum(each) for each in zip(*(work(*chunk) for chunk in chunks), strict=True))
        curves = self._prefill.get(shape)
        ns = self._roofline(PREFILL, flops, nbytes) if curves is None else curves.of(chunks)
        return Kernel(
            "prefill_attention", PREFILL, max(1, round(ns * self._scale)), self._kinds[PREFILL].sm, flops, nbytes
        )

    def decode_attention(
        self, shape: tuple[int, int, int], rows: int, context: int, work: Callable[[int, int], tuple[int, int]]
    ) -> Kernel:
        """One query a row over ``context`` tokens in all, over parts of every row's context.

        ``shape`` is query heads, KV heads and head size. ``work`` of rows and context is operations and bytes; it is
        asked again for the edge of what was measured.
        """
        flops, nbytes = work(rows, context)
        ns = self._roofline(DECODE, flops, nbytes)
        if grid := self._decode.get(shape):
            edge, mean = grid.nearest(rows, context / rows)
            if (edge, mean) != (rows, context / rows):
                ns *= grid.at(edge, mean) / self._roofline(DECODE, *work(edge, round(edge * mean)))
            else:
                ns = grid.at(edge, mean)
        return Kernel(
            "decode_attention", "attention", max(1, round(ns * self._scale)), self._kinds[DECODE].sm, flops, nbytes
        )

    def copy(self, direction: Direction, nbytes: int, *, pinned: bool = True) -> Copy:
        """A copy over a copy engine, from the profile's table of that direction."""
        points = {
            ("h2d", True): self._copies.h2d,
            ("d2h", True): self._copies.d2h,
            ("h2d", False): self._copies.pageable_h2d,
            ("d2h", False): self._copies.pageable_d2h,
        }[direction, pinned].points
        return Copy(direction, round(interpolate(points, nbytes)), nbytes, pinned)

    def copy_on_device(self, nbytes: int) -> Kernel:
        """A copy within the device's memory, which a kernel does."""
        return Kernel(
            "Memcpy DtoD", "copy", round(interpolate(self._copies.d2d.points, nbytes) * self._scale), 1.0, 0, 2 * nbytes
        )

    def _roofline(self, kind: str, flops: int, nbytes: int) -> float:
        cost = self._kinds[kind]
        arithmetic = flops * 1e9 / cost.flops if cost.flops else 0.0
        traffic = nbytes * 1e9 / cost.bandwidth if cost.bandwidth else 0.0
        return cost.floor + max(arithmetic, traffic)

    def _ns(self, kind: str, flops: int, nbytes: int, rows: int, shape: tuple[int, ...]) -> float:
        points = self._tables.get((kind, shape))
        if not points or not rows:
            return self._roofline(kind, flops, nbytes)
        first, last = points[0], points[-1]
        if first[0] <= rows <= last[0]:
            return interpolate(points, rows)
        # Work is taken to be linear in the rows beyond the table, which the roofline's ratio expresses.
        edge_rows, edge_ns = first if rows < first[0] else last
        here = self._roofline(kind, flops, nbytes)
        there = self._roofline(kind, flops * edge_rows // rows, nbytes * edge_rows // rows)
        return edge_ns * here / there
