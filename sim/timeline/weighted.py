"""A distribution of values that occur several times each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.timeline.spans import Column


@dataclass(frozen=True, eq=False, slots=True)
class Weighted:
    """Values in rising order, and how many lie at or below each; statistics are those of the values written out."""

    values: npt.NDArray[np.float64]
    upto: Column

    @classmethod
    def of(cls, values: npt.ArrayLike, times: Column | None = None) -> Weighted:
        """The distribution of these values, each as many ``times`` (default: once)."""
        given = np.asarray(values, dtype=np.float64)
        order = np.argsort(given, kind="stable")
        each = np.ones(len(given), dtype=np.int64) if times is None else times
        return cls(given[order], np.cumsum(each[order]))

    @classmethod
    def joined(cls, parts: Iterable[Weighted]) -> Weighted:
        """All values of several distributions."""
        kept = list(parts)
        times = [np.diff(part.upto, prepend=0) for part in kept]
        return cls.of(np.concatenate([part.values for part in kept]), np.concatenate(times))

    @property
    def count(self) -> int:
        """How many values there are."""
        return int(self.upto[-1]) if len(self.upto) else 0

    @property
    def mean(self) -> float:
        """Their mean."""
        return float(self.values @ np.diff(self.upto, prepend=0)) / self.count

    def quantile(self, share: float) -> float:
        """The value below which this share lies, straight lines between neighbours, as ``numpy.quantile``."""
        place = (self.count - 1) * share
        low = int(place)
        a, b = self.values[np.searchsorted(self.upto, [low, min(low + 1, self.count - 1)], side="right")].tolist()
        return float(a + (b - a) * (place - low))
