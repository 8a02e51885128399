"""What a decode step's operations take, over any context, once its rows are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from sim.program.decode_curve import DecodeCurve, PaddedCurve, Times
from sim.program.durations import Durations
from sim.program.frame import Frame

INPUTS_A_ROW = 20  # bytes: token, position, slot, length and FutureMap slot, 4 each
PAGE = 16  # tokens of a KV cache page, of which the inputs name one by a 4-byte number

Size = TypeVar("Size", int, Times)


def input_bytes(rows: int, pages: Size) -> Size:
    """Bytes of a decode step's inputs."""
    return rows * INPUTS_A_ROW + 4 * pages


class DecodePrices:
    """Durations (ns) of the operations that fill ``frame``, by the tokens that the step's rows attend to.

    The first ``copies`` take the inputs of ``rows`` to the device and the ``moves`` after them put them into place:
    both follow the bytes of the inputs, which name pages, and are kept in ``moved`` for all steps that have as many
    of these operations. ``attention`` is the position of the attention kernel, if there is one, and ``curve`` prices
    it. ``rest`` holds all durations at some context, which those of the others do not follow.
    """

    def __init__(
        self, frame: Frame, rest: Sequence[int], durations: Durations, *,
        rows: int, copies: int, moves: int, moved: dict[int, list[int]], attention: int | None,
        curve: DecodeCurve | PaddedCurve,
    ) -> None:  # fmt: skip
        self.frame = frame
        self.rest = list(rest)
        self._durations = durations
        self._rows = rows
        self._copies = copies
        self._changing = copies + moves
        self._attention = attention
        self._curve = curve
        self._ns = curve.ns
        self._row_bytes = rows * INPUTS_A_ROW
        self._moved = moved

    @property
    def changing(self) -> Sequence[int]:
        """Positions of the operations that follow the context, as ``changes`` has them."""
        return [*range(self._changing), *([] if self._attention is None else [self._attention])]

    def changes(self, context: int) -> list[int]:
        """Over one context, those that follow it."""
        nbytes = self._row_bytes - 4 * (-context // PAGE)
        moved = self._moved.get(nbytes)
        if moved is None:
            moved = self._moved[nbytes] = self._moving(nbytes)
        return moved if self._attention is None else [*moved, self._ns(context)]

    def at(self, context: int) -> list[int]:
        """Over one context."""
        changes, found = self.changes(context), self.rest.copy()
        found[: self._changing] = changes[: self._changing]
        if self._attention is not None:
            found[self._attention] = changes[-1]
        return found

    def over(self, contexts: Times) -> Times:
        """Over many contexts, in columns."""
        found = np.repeat(np.array(self.rest, dtype=np.int64)[:, np.newaxis], len(contexts), axis=1)
        found[: self._changing] = self._over_pages(-(-contexts // PAGE))
        if self._attention is not None:
            found[self._attention] = self._curve.many(contexts)
        return found

    def _moving(self, nbytes: int) -> list[int]:
        """What it takes to bring so many bytes to the device and to put them into place."""
        copies, moves = self._copies, self._changing - self._copies
        found = [self._durations.copy("h2d", -(-nbytes // copies)).ns] * copies if copies else []
        return found + [self._durations.moving("gather", 2 * nbytes)] * moves

    def _over_pages(self, pages: Times) -> Times:
        copies, nbytes = self._copies, input_bytes(self._rows, pages)
        found = np.empty((self._changing, len(pages)), dtype=np.int64)
        if copies:
            found[:copies] = self._durations.copies_of("h2d", -(-nbytes // copies))
        found[copies:] = self._durations.kernels_of("gather", 2 * nbytes)
        return found
