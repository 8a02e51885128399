"""Decode attention of some rows, as a function of their context."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sim.program.grid import Grid

Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Roofline:
    """A floor (ns) and, on top, the larger of arithmetic at a rate and traffic at a bandwidth, a second of each."""

    floor: float
    flops: float | None
    bandwidth: float | None

    def ns(self, flops: int, nbytes: int) -> float:
        """Nanoseconds of so much work."""
        arithmetic = flops * 1e9 / self.flops if self.flops else 0.0
        traffic = nbytes * 1e9 / self.bandwidth if self.bandwidth else 0.0
        return self.floor + max(arithmetic, traffic)

    def many(self, flops: Any, nbytes: Any) -> Any:
        """``ns`` of columns, to the last bit."""
        arithmetic = flops * 1e9 / self.flops if self.flops else 0.0 * flops
        traffic = nbytes * 1e9 / self.bandwidth if self.bandwidth else 0.0 * nbytes
        return self.floor + np.maximum(arithmetic, traffic)


class QueryWork(NamedTuple):
    """What one query a row computes and moves: operations and bytes a token that is attended to, and bytes a row."""

    flops: int
    nbytes: int
    row_bytes: int

    def __call__(self, rows: Any, context: Any) -> tuple[Any, Any]:
        """Operations and bytes of so many rows over so many tokens in all."""
        return self.flops * context, self.nbytes * context + self.row_bytes * rows


class DecodeCurve:
    """Attention of ``rows`` queries, one a row, whose contexts add up to so many tokens.

    Inside of what ``grid`` holds that decides; outside of it the roofline goes on from its edge.
    """

    def __init__(
        self,
        rows: int,
        grid: Grid | None,
        roofline: Roofline,
        work: QueryWork,
        scale: float,
    ) -> None:
        self._rows = rows
        self._grid = grid
        self._line = None if grid is None else grid.line(rows)
        self._roofline = roofline
        self._work = work
        self._scale = scale
        self._other = None if self._line is None or self._line.batch == rows else self._line.batch
        # whether the roofline's arithmetic is hidden behind its traffic at any size, by more than rounding can change
        arithmetic, traffic = (roofline.ns(*each) - roofline.floor for each in ((work.flops, 0), (0, work.nbytes)))
        self._traffic = roofline.bandwidth if arithmetic < 0.999 * traffic else None
        self._floor, self._nbytes = roofline.floor, work.nbytes
        self._row_bytes, self._edge_bytes = work.row_bytes * rows, work.row_bytes * (self._other or 0)
        # straight pieces by context: above one edge and up to the next it is an offset and a slope
        self._edges: list[int] = []
        self._offsets: list[float] = []
        self._slopes: list[float] = []
        if grid is not None and self._line is not None:
            self._lay(self._line.ends(grid.first, grid.last))
        # the piece that was used last, since a context follows another
        self._low, self._high, self._offset, self._slope = 0, 0, 0.0, 0.0

    def _lay(self, ends: list[tuple[int, float]]) -> None:
        for (x0, y0), (x1, y1) in pairwise(ends):
            self._slopes.append((y1 - y0) / ((x1 - x0) * self._rows))
            self._offsets.append(y0 - self._slopes[-1] * (x0 * self._rows))
        if self._slopes:
            self._edges = [ends[0][0] * self._rows - 1, *(x * self._rows for x, _ in ends[1:])]

    def ns(self, context: int) -> int:
        """Nanoseconds over so many tokens."""
        if not self._low < context <= self._high and not self._turn(context):
            return max(1, round(self._beyond(context) * self._scale))
        found = self._offset + self._slope * context
        other, traffic = self._other, self._traffic
        if other is not None:
            near = round(other * (context / self._rows))
            if traffic is None:
                found = self._bound(self._rows, context) * (found / self._bound(other, near))
            else:  # the same, spelled out
                edge = self._floor + (self._nbytes * near + self._edge_bytes) * 1e9 / traffic
                bound = self._floor + (self._nbytes * context + self._row_bytes) * 1e9 / traffic
                found = bound * (found / edge)
        ns = round(found * self._scale)
        return ns if ns > 1 else 1  # noqa: FURB136  asked of every step: a call would take a tenth of it

    def _turn(self, context: int) -> bool:
        """Go to the piece that a context lies on; whether there is one."""
        right = bisect_left(self._edges, context)
        if right in {0, len(self._edges)}:
            return False
        self._low, self._high = self._edges[right - 1], self._edges[right]
        self._offset, self._slope = self._offsets[right - 1], self._slopes[right - 1]
        return True

    def _bound(self, rows: int, context: int) -> float:
        """The roofline of so many rows."""
        if self._traffic is None:
            return self._roofline.ns(*self._work(rows, context))
        _, nbytes, row_bytes = self._work
        return self._roofline.floor + (nbytes * context + row_bytes * rows) * 1e9 / self._traffic

    def _beyond(self, context: int) -> float:
        """Off the pieces."""
        grid, line = self._grid, self._line
        if grid is None or line is None:
            return self._bound(self._rows, context)
        mean = context / self._rows
        near = min(max(mean, grid.first), grid.last)
        if near == mean and line.batch == self._rows:
            return line.at(near)
        return self._bound(self._rows, context) * (line.at(near) / self._bound(line.batch, round(line.batch * near)))

    def many(self, contexts: Times) -> Times:
        """``ns`` over many contexts at once."""
        grid, line, roofline = self._grid, self._line, self._roofline
        if grid is None or line is None:
            found = roofline.many(*self._work(self._rows, contexts))
        else:
            means = contexts / self._rows
            near = np.minimum(np.maximum(means, grid.first), grid.last)
            found = line.many(near)
            if self._edges:
                right = np.searchsorted(self._edges, contexts)
                inside = np.flatnonzero((right > 0) & (right < len(self._edges)))
                piece = right[inside] - 1
                found[inside] = np.array(self._offsets)[piece] + np.array(self._slopes)[piece] * contexts[inside]
            out = np.flatnonzero((near != means) | (line.batch != self._rows))
            if len(out):
                edge = roofline.many(*self._work(line.batch, np.rint(line.batch * near[out]).astype(np.int64)))
                found[out] = roofline.many(*self._work(self._rows, contexts[out])) * (found[out] / edge)
        times: Times = np.maximum(1, np.rint(found * self._scale)).astype(np.int64)
        return times


@dataclass(frozen=True)
class PaddedCurve:
    """Attention of a graph with ``padding`` rows, which attend to one token each, over what the other rows attend to.

    Programs of padding rows end at once and leave their multiprocessors idle rather than to the others: rows take no
    less than they do alone, and no less than as many tokens spread over all rows of the ``bucket``.
    """

    bucket: DecodeCurve
    alone: DecodeCurve
    padding: int

    def ns(self, context: int) -> int:
        """Nanoseconds over so many tokens of rows that are none of the padding."""
        spread, alone = self.bucket.ns(context + self.padding), self.alone.ns(context)
        return spread if spread > alone else alone  # noqa: FURB136  likewise

    def many(self, contexts: Times) -> Times:
        """``ns`` over many contexts at once."""
        return np.maximum(self.bucket.many(contexts + self.padding), self.alone.many(contexts))
