"""A train of launches as one step of (max, +) algebra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.fast.launch_queue import NEVER
from sim.program.constants import Constants
from sim.timeline.spans import Column


@dataclass(eq=False, slots=True)
class Pace:
    """What a train does to its stream: nanoseconds, from the beginning of its first call where they are submissions.

    ``first`` is when its first kernel is submitted; the last one starts ``before`` after the later of the first start
    and ``slack``; ``last`` is its duration. Durations of several steps side by side, or of several runs, whose calls
    may differ, too, give columns of each.
    """

    count: int
    first: int
    slack: int
    before: int
    last: int
    slacks: Column
    befores: Column
    _scan: Column | None = None

    @classmethod
    def of(cls, returns: Column, ns: Column, constants: Constants) -> Pace:
        """The pace of kernels of these durations whose calls return at these times."""
        gapped = ns + constants.stream_gap
        befores = np.cumsum(gapped, axis=0) - gapped
        submitted = returns + constants.launch_latency
        slacks = submitted.reshape(len(ns), *submitted.shape[1:], *[1] * (ns.ndim - submitted.ndim)) - befores
        slack = slacks[1:].max(axis=0) if len(ns) > 1 else slacks[0]
        if ns.ndim > 1:
            first = submitted[0] if submitted.ndim > 1 else int(submitted[0])
            return cls(len(ns), first, slack, befores[-1], ns[-1], slacks, befores)
        return cls(len(ns), int(submitted[0]), int(slack), int(befores[-1]), int(ns[-1]), slacks, befores)

    def at(self, step: int) -> Pace:
        """One of several steps side by side."""
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
        starts: Column = np.add(self.scan, now, out=out)
        np.maximum(starts, first, out=starts)
        starts += self.befores
        return starts
