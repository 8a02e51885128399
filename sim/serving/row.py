"""A request that holds KV blocks, and when something is due for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from sim.serving.request import Request


@dataclass(eq=False, slots=True)
class Row:
    """A request that holds KV blocks.

    ``done`` of the ``prompt`` tokens that it computes before it decodes are scheduled; they include the tokens it had
    ``received`` when it lost its blocks. ``before`` counts its tokens when it joined; it computes one more in each
    decode batch whose counter lies in ``joined + 1 .. left`` (``left`` follows the scheduler's counter while it runs).
    ``finished`` rows are dead: their request has ended, or has lost its blocks.
    """

    request: Request
    prompt: int
    received: int
    done: int = 0
    before: int = 0
    joined: int = 0
    left: int = 0
    finished: bool = False


class Calendar:
    """Rows by the number of the decode batch in which something is due for them."""

    __slots__ = ("_numbers", "_rows")

    def __init__(self) -> None:
        self._rows: dict[int, list[Row]] = {}
        self._numbers: list[int] = []

    def add(self, number: int, row: Row) -> None:
        """Something is due for a row in this batch."""
        rows = self._rows.get(number)
        if rows is None:
            self._rows[number] = [row]
            heappush(self._numbers, number)
        else:
            rows.append(row)

    def at(self, number: int) -> Sequence[Row]:
        """Whom something is due for in this batch."""
        return self._rows.get(number, ())

    def pop(self, number: int) -> Sequence[Row]:
        """The same; they are forgotten."""
        return self._rows.pop(number, ())

    @property
    def first(self) -> int | None:
        """The number of the first batch in which something is due."""
        numbers = self._numbers
        while numbers and numbers[0] not in self._rows:
            heappop(numbers)
        return numbers[0] if numbers else None
