"""The highest rate at which a condition holds, closed in by doubling and halving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

DOUBLINGS = 30


@dataclass(frozen=True, slots=True)
class Bracket:
    """The condition holds at ``low`` and fails at ``high``; rates in between are not known.

    ``low`` 0: it failed at every rate above 0 that was tried. ``high`` infinite: it held at every rate.
    """

    low: float
    high: float

    @property
    def width(self) -> float:
        """The part of ``high`` that is not known."""
        return 1 - self.low / self.high


def close_in(holds: Callable[[float], bool], start: float, precision: float) -> Bracket:
    """Bracket by doubling or halving from ``start``, then bisect until the bracket is as narrow as ``precision``.

    The condition is taken to hold below a rate where it holds. Middles are geometric: a rate has no natural zero.
    """
    low, high = 0.0, float("inf")
    rate = start
    for _ in range(DOUBLINGS):
        if holds(rate):
            low, rate = rate, rate * 2
        else:
            high, rate = rate, rate / 2
        if low > 0 and high < float("inf"):
            break
    else:
        return Bracket(low, high)
    while (found := Bracket(low, high)).width > precision:
        middle = (low * high) ** 0.5
        if holds(middle):
            low = middle
        else:
            high = middle
    return found
