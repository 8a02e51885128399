"""How long a kernel takes, alone on the device."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np

from scenarios.profile import Profile
from sim.program.decode_curve import DecodeCurve, QueryWork, Roofline, Times
from sim.program.grid import Points, by_last, grids, interpolate, interpolate_many
from sim.program.ops import Copy, Direction, Kernel
from sim.program.products import Products
from sim.program.prompts import PER, Cached, Chunk, PromptCurves
from sim.program.splits import regime

DECODE, PREFILL = "attention_decode", "attention_prefill"
CACHED, READ = "attention_cached", "kv_read"
"""Kinds of kernel that a profile may price, of prompts that go on from the cache."""


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
        self.products = Products(profile.programs, profile.device.multiprocessors) if profile.programs else None
        """Prices of programs' products and additions, where the profile has them."""
        self._tables = {
            (kind, tuple(table.shape)): table.points for kind, cost in profile.kernels.items() for table in cost.table
        }
        self._decode = grids(
            ((tuple(table.shape), table.points) for table in profile.kernels[DECODE].table),
            lambda rows, heads: regime(rows, heads[1], heads[2], profile.device.multiprocessors),
        )
        self._prefill = {
            shape: PromptCurves(curves, _cached(profile, shape))
            for shape, curves in by_last((tuple(table.shape), table.points) for table in profile.kernels[PREFILL].table)
        }
        self._rooflines = {
            kind: Roofline(cost.floor, cost.flops, cost.bandwidth) for kind, cost in profile.kernels.items()
        }
        self._curves: dict[Hashable, DecodeCurve] = {}
        self._known: dict[tuple[object, ...], Kernel] = {}

    def kernel(
        self,
        name: str,
        call: str,
        kind: str,
        *,
        flops: int = 0,
        nbytes: int = 0,
        weights: int = 0,
        rows: int = 0,
        shape: tuple[int, ...] = (),
    ) -> Kernel:
        """A kernel of a profile's ``kind`` that does this work; ``rows`` and ``shape`` find a measured table.

        ``weights`` are those of the ``nbytes`` that are moved once, however many rows there are.
        """
        key = (name, call, kind, flops, nbytes, rows, shape)
        kernel = self._known.get(key)
        if kernel is None:
            ns = max(1, round(self._ns(kind, flops, nbytes, weights, rows, shape) * self._scale))
            kernel = self._known[key] = Kernel(name, call, ns, self._kinds[kind].sm, flops, nbytes)
        return kernel

    def matmul(self, name: str, m: int, n: int, k: int, found: float) -> Kernel:
        """A product of a program, of whose bytes a share is ``found`` in the cache if the profile knows of one."""
        flops, nbytes = 2 * m * n * k, 2 * (m * k + k * n + m * n)
        if self.products is None:
            return self.kernel(
                name, "gemm", "gemm", flops=flops, nbytes=nbytes, weights=2 * k * n, rows=m, shape=(n, k)
            )
        ns, sm = self.products.matmul(m, n, k, found)
        return Kernel(name, "gemm", max(1, round(ns * self._scale)), sm, flops, nbytes)

    def add(self, name: str, elements: int, found: float) -> Kernel:
        """An addition of a program, likewise."""
        nbytes = 3 * 4 * elements
        if self.products is None:
            return self.kernel(name, "elementwise", "elementwise", nbytes=nbytes)
        ns = max(1, round(self.products.add(elements, found) * self._scale))
        return Kernel(name, "elementwise", ns, self._kinds["elementwise"].sm, 0, nbytes)

    def prefill_attention(
        self, shape: tuple[int, int, int], chunks: tuple[Chunk, ...], work: Callable[[int, int], tuple[int, int]]
    ) -> Kernel:
        """Causal attention of all prompts of a step, whole or in chunks, as one kernel.

        ``work`` of a chunk's cached and new tokens is operations and bytes. A shape that was not measured takes one
        roofline for all chunks.
        """
        flops, nbytes = (sum(each) for each in zip(*(work(*chunk) for chunk in chunks), strict=True))
        curves = self._prefill.get(shape)
        ns = self._rooflines[PREFILL].ns(flops, nbytes) if curves is None else curves.of(chunks)
        return Kernel(
            "prefill_attention", PREFILL, max(1, round(ns * self._scale)), self._kinds[PREFILL].sm, flops, nbytes
        )

    def decode_attention(self, shape: tuple[int, int, int], rows: int, context: int, work: QueryWork) -> Kernel:
        """One query a row over ``context`` tokens in all, over parts of every row's context.

        ``shape`` is query heads, KV heads and head size.
        """
        flops, nbytes = work(rows, context)
        ns = self.decode_curve(shape, rows, work).ns(context)
        return Kernel("decode_attention", "attention", ns, self._kinds[DECODE].sm, flops, nbytes)

    def decode_curve(self, shape: tuple[int, int, int], rows: int, work: QueryWork) -> DecodeCurve:
        """What ``decode_attention`` takes, as a function of the context."""
        key = shape, rows, work
        curve = self._curves.get(key)
        if curve is None:
            made = DecodeCurve(rows, self._decode.get(shape), self._rooflines[DECODE], work, self._scale)
            curve = self._curves[key] = made
        return curve

    @property
    def read(self) -> str:
        """The kind of kernel that gathers keys and values from the cache."""
        return READ if READ in self._kinds else "gather"

    def moving(self, kind: str, nbytes: int) -> int:
        """Nanoseconds of a kernel of a kind that moves so many bytes and has no table."""
        return max(1, round(self._rooflines[kind].ns(0, nbytes) * self._scale))

    def kernels_of(self, kind: str, nbytes: Times) -> Times:
        """``moving`` of columns, to the last bit."""
        found = np.rint(self._rooflines[kind].many(0 * nbytes, nbytes) * self._scale)
        times: Times = np.maximum(1, found).astype(np.int64)
        return times

    def copies_of(self, direction: Direction, nbytes: Times, *, pinned: bool = True) -> Times:
        """Nanoseconds of copies of so many bytes."""
        return np.rint(interpolate_many(self._copied(direction, pinned=pinned), nbytes)).astype(np.int64)

    def copy(self, direction: Direction, nbytes: int, *, pinned: bool = True) -> Copy:
        """A copy over a copy engine, from the profile's table of that direction."""
        points = self._copied(direction, pinned=pinned)
        return Copy(direction, round(interpolate(points, nbytes)), nbytes, pinned)

    def _copied(self, direction: Direction, *, pinned: bool) -> Points:
        copies = self._copies
        by_kind = {
            ("h2d", True): copies.h2d,
            ("d2h", True): copies.d2h,
            ("h2d", False): copies.pageable_h2d,
            ("d2h", False): copies.pageable_d2h,
        }
        return by_kind[direction, pinned].points

    def copy_on_device(self, nbytes: int) -> Kernel:
        """A copy within the device's memory, which a kernel does."""
        return Kernel(
            "Memcpy DtoD", "copy", round(interpolate(self._copies.d2d.points, nbytes) * self._scale), 1.0, 0, 2 * nbytes
        )

    def _ns(self, kind: str, flops: int, nbytes: int, weights: int, rows: int, shape: tuple[int, ...]) -> float:
        points, roofline = self._tables.get((kind, shape)), self._rooflines[kind]
        if not points or not rows:
            return roofline.ns(flops, nbytes)
        first, last = points[0], points[-1]
        if first[0] <= rows <= last[0]:
            return interpolate(points, rows)
        # Beyond the table time goes as the roofline: work is linear in the rows, but weights are read once.
        edge_rows, edge_ns = first if rows < first[0] else last
        here = roofline.ns(flops, nbytes)
        there = roofline.ns(flops * edge_rows // rows, weights + (nbytes - weights) * edge_rows // rows)
        return edge_ns * here / there


def _cached(profile: Profile, shape: tuple[int, ...]) -> Cached | None:
    """What cached tokens cost heads of this shape; None where the profile does not know."""
    heads, _, head_dim = shape
    for table in profile.kernels[CACHED].table if CACHED in profile.kernels else ():
        if tuple(table.shape) == (head_dim,):
            alone, paired = (dict(table.points).get(blocks) for blocks in (1, 2))
            if alone is not None and paired is not None:
                return Cached(heads, profile.device.multiprocessors, alone / PER, paired / PER)
    return None
