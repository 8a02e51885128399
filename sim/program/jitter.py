"""Host times as distributions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BLOCK = 1024


class Jitter:
    """Factors on a host time's median, drawn from quantiles by linear interpolation.

    Draws are keyed by (seed, thread, number of the draw), so that one thread's times do not depend on what another
    does. Leaves out that slow calls come in runs.
    """

    def __init__(self, quantiles: Sequence[tuple[float, float]], seed: int, thread: int) -> None:
        self._probabilities = np.array([p for p, _ in quantiles])
        self._factors = np.array([f for _, f in quantiles])
        self._draws = np.random.Generator(np.random.Philox(key=(seed, thread)))
        self._block: list[float] = []

    def __call__(self, ns: int) -> int:
        """A time whose median is ``ns``."""
        if not self._block:
            self._refill()
        return round(ns * self._block.pop())

    def many(self, ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Times with these medians: the same as drawing them one after the other."""
        factors: list[float] = []
        while len(factors) < len(ns):
            if not self._block:
                self._refill()
            taken = min(len(ns) - len(factors), len(self._block))
            factors += self._block[: -taken - 1 : -1]
            del self._block[-taken:]
        times: npt.NDArray[np.int64] = np.rint(ns * np.array(factors)).astype(np.int64)
        return times

    def _refill(self) -> None:
        uniform = self._draws.random(BLOCK)
        self._block = np.interp(uniform, self._probabilities, self._factors)[::-1].tolist()


def median(ns: int) -> int:
    """The median itself: no jitter."""
    return ns
