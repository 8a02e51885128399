"""A train of launches as one step of (max, +) algebra."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.fast.blocks import Link
from sim.fast.launch_queue import NEVER
from sim.program.calls import Call
from sim.program.constants import Constants
from sim.timeline.spans import Column

_NONE = np.empty(0, dtype=np.int64)
One = Callable[[int], "Pace"]
"""Gives the pace of one of several steps, by its number."""


@dataclass(eq=False, slots=True)
class Pace:
    """What a train does to its stream: nanoseconds, from the beginning of its first call where they are submissions.

    ``first`` is when its first kernel is submitted; the last one starts ``before`` after the later of the first start
    and ``slack``; ``last`` is its duration. Durations of several steps side by side give columns of each. Starts of all
    kernels take scans; those that a pace has not, it makes when they are asked for, as a ``whole``.
    """

    count: int
    first: Any
    slack: Any
    before: Any
    last: Any
    slacks: Column
    befores: Column
    one: One | None = None
    whole: Callable[[], Pace] | None = None
    _scan: Column | None = None

    @classmethod
    def of(cls, returns: Column, ns: Column, constants: Constants) -> Pace:
        """The pace of kernels of these durations whose calls return at these times."""
        gapped = ns + constants.stream_gap
        befores = np.cumsum(gapped, axis=0) - gapped
        submitted = returns + constants.launch_latency
        slacks = submitted.reshape(len(ns), *[1] * (ns.ndim - 1)) - befores
        slack = slacks[1:].max(axis=0) if len(ns) > 1 else slacks[0]
        if ns.ndim > 1:
            return cls(len(ns), int(submitted[0]), slack, befores[-1], ns[-1], slacks, befores)
        return cls(len(ns), int(submitted[0]), int(slack), int(befores[-1]), int(ns[-1]), slacks, befores)

    @classmethod
    def linked(
        cls, first: Call, ns: Any, rest: Link, last: Any, count: int, constants: Constants, one: One | None = None
    ) -> Pace:
        """The same from the first call and its kernel's duration, the link of the others and the last one's duration.

        Scans are left out: when the kernels between start can be asked of ``one`` step alone, if there is any.
        """
        gapped = last + constants.stream_gap
        before = (ns + constants.stream_gap) + (rest.stream - gapped)
        slack = first.ns + (rest.both - gapped) - before
        return cls(count, first.ns + constants.launch_latency, slack, before, last, _NONE, _NONE, one)

    def at(self, step: int) -> Pace:
        """One of several steps side by side."""
        if self.one is not None:
            return self.one(step)
        slack, before, last = (int(np.asarray(column)[step]) for column in (self.slack, self.before, self.last))
        return Pace(self.count, self.first, slack, before, last, self.slacks[:, step], self.befores[:, step])

    @property
    def scan(self) -> Column:
        """The largest of the slacks up to each kernel's, the first one's left out; found once for all equal trains."""
        if self._scan is None:
            self._scan = self.slacks.copy()
            self._scan[0] = NEVER
            np.maximum.accumulate(self._scan, axis=0, out=self._scan)
        return self._scan

    def starts(self, first: int | Column, now: int | Column, out: Column | None = None) -> Column:
        """When each kernel starts, the first one and the first call being given, into ``out`` if there is one."""
        if self.whole is not None:
            return self.whole().starts(first, now, out)
        starts: Column = np.add(self.scan, now, out=out)
        np.maximum(starts, first, out=starts)
        starts += self.befores
        return starts
