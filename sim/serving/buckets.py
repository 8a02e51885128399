"""Batch sizes that graphs were captured for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Buckets:
    """Row counts of the captured graphs, strictly increasing.

    A batch runs in the smallest bucket that holds it, its missing rows filled with harmless ones that cost device
    time; a batch above the largest bucket runs eager, and so does, without ``pad``, one of no bucket's size.
    """

    sizes: tuple[int, ...]
    pad: bool

    def __init__(self, sizes: Sequence[int], *, pad: bool = True) -> None:
        object.__setattr__(self, "sizes", tuple(sizes))
        object.__setattr__(self, "pad", pad)
        if not self.sizes or self.sizes[0] < 1 or any(a >= b for a, b in zip(self.sizes, self.sizes[1:], strict=False)):
            raise ValueError(f"buckets must be strictly increasing and at least 1, got {list(self.sizes)}")

    def fit(self, rows: int) -> int | None:
        """The bucket for a batch of ``rows``, None when it must run eager."""
        position = bisect_left(self.sizes, rows)
        if position == len(self.sizes) or not (self.pad or self.sizes[position] == rows):
            return None
        return self.sizes[position]
