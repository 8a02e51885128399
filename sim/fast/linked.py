"""Durations side by side, of several steps or of several runs: trains are composed from what repeats in them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from sim.fast.blocks import Blocks, Later
from sim.fast.pace import Pace
from sim.fast.segments import Filled, Train
from sim.program.constants import Constants
from sim.timeline.spans import Column


class Linked(Filled):
    """What operations take, each a column or one number for all; ``change`` are those that the next columns change.

    ``blocks`` keep what trains are composed of from one step to the next. Of a train only its first kernel and its last
    have times, unless ``column`` has all durations: then ``Pace.at`` gives one step's.
    """

    __slots__ = ("_blocks", "_change", "_each", "_later")

    def __init__(
        self, each: Sequence[Any], change: frozenset[int], later: Later, blocks: dict[Train, Blocks],
        column: Column | None = None,
    ) -> None:  # fmt: skip
        super().__init__(each)
        self._each = each
        self._change = change
        self._later = later
        self._blocks = blocks
        self._column = column

    @classmethod
    def steps(cls, times: Column, later: Later) -> Linked:
        """Durations of operations by steps, most of which are the same at all of them."""
        same = (times == times[:, :1]).all(axis=1)
        each = [int(row[0]) if one else row for row, one in zip(times, same.tolist(), strict=True)]
        return cls(each, frozenset(np.flatnonzero(~same).tolist()), later, {}, times)

    def pace(self, train: Train, constants: Constants) -> Pace:
        """A train's pace."""
        blocks, each = self._blocks.get(train), self._each
        if blocks is None:
            calls = dict(zip(train.at[1:].tolist(), train.calls[1:], strict=True))
            blocks = self._blocks[train] = Blocks(train.rest, calls, constants, self._later, self._change)
        first, last = int(train.at[0]), int(train.at[-1])
        one = None if self._column is None else partial(self._one, train, constants)
        return Pace.linked(train.calls[0], each[first], blocks.link(each), each[last], len(train.at), constants, one)

    def _one(self, train: Train, constants: Constants, step: int) -> Pace:
        return Pace.of(train.returns, self.column[train.at, step], constants)
