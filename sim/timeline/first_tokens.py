"""Where the time of a first token goes, from a request's arrival to its delivery."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sim.timeline.spans import Kind, Timeline

EVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class FirstTokens:
    """Means over all requests, in nanoseconds; they add up to the mean TTFT.

    ``queue``: until a schedule takes the request in. ``ahead``: until the device starts on the step that ends its
    prompt: what the host prepares and launches, steps in flight, and earlier chunks of the prompt. ``compute``: until
    the device is done with that step. ``delivery``: until the host has seen it and handed the token over.
    """

    queue: float
    ahead: float
    compute: float
    delivery: float

    @classmethod
    def of(cls, timeline: Timeline) -> FirstTokens | None:
        """Those of a run; None for one without spans of the device or without requests."""
        served = timeline.served
        rows = timeline.table[timeline.on_device & (timeline.column("step") >= 0)]
        if not served or not len(rows):
            return None
        steps = np.asarray(timeline.delivered("step"))[[s.delivery for s in served]]
        count = int(max(steps.max(), rows[:, 6].max())) + 1
        starts, ends = np.full(count, EVER), np.zeros(count, dtype=np.int64)
        kernels = rows[rows[:, 3] == Kind.KERNEL]  # inputs may be copied long before the device gets to the step
        np.minimum.at(starts, kernels[:, 6], kernels[:, 1])
        np.maximum.at(ends, rows[:, 6], rows[:, 2])
        stamps = [
            np.array([s.arrival for s in served]), np.array([s.scheduled for s in served]), starts[steps], ends[steps],
            np.array([s.first for s in served]),
        ]  # fmt: skip
        return cls(*(float((after - before).mean()) for before, after in pairwise(stamps)))

    @property
    def ttft(self) -> float:
        """The mean time to the first token."""
        return self.queue + self.ahead + self.compute + self.delivery
