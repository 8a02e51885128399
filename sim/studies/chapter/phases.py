"""Exposed host time by phase: what the device waits for its host before a step of decode, and before one of prefill."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.timeline.metrics import IDLE_PARTS, busy_intervals, idle_by_cause
from sim.timeline.spans import Column, Timeline


@dataclass(frozen=True, slots=True)
class PhaseShare:
    """Steps of one phase: how many, and means in nanoseconds of device work and of exposed host time."""

    steps: int
    busy: float
    exposed: float

    @property
    def share(self) -> float:
        """Exposed host time of the step."""
        return self.exposed / (self.busy + self.exposed) if self.steps else 0.0


def by_phase(timeline: Timeline) -> dict[str, PhaseShare]:
    """Split a timeline where a step's device work ends; what lies between two such ends belongs to the later step.

    Waits for requests count as no work, not as exposed. The first step, which nothing came before, is left out. Needs
    spans.
    """
    prefill = {d.step: d.prefill for d in timeline.deliveries}
    work = timeline.table[timeline.on_device & np.isin(timeline.column("step"), list(prefill))]
    steps, of = np.unique(work[:, 6], return_inverse=True)
    ends = np.zeros(len(steps), dtype=np.int64)
    np.maximum.at(ends, of, work[:, 2])
    order = np.argsort(ends, kind="stable")
    windows = np.stack([ends[order][:-1], ends[order][1:]], axis=1)
    prefills = np.array([prefill[step] for step in steps[order][1:].tolist()], dtype=bool)
    busy = busy_intervals(timeline, int(windows[0, 0]), int(windows[-1, 1]))
    return {
        phase: _share(timeline, busy, windows[mine], windows[~mine])
        for phase, mine in (("decode", ~prefills), ("prefill", prefills))
    }


def _share(timeline: Timeline, busy: Column, mine: Column, others: Column) -> PhaseShare:
    """Of the steps in ``mine``; the windows of ``others`` are taken for busy, so that nothing idles there."""
    if not len(mine):
        return PhaseShare(0, 0.0, 0.0)
    idle = idle_by_cause(timeline, _union(np.concatenate([busy, others])), int(mine[0, 0]), int(mine[-1, 1]))
    total = int((mine[:, 1] - mine[:, 0]).sum())
    exposed = sum(idle[part] for part in IDLE_PARTS[:6])
    return PhaseShare(len(mine), (total - sum(idle.values())) / len(mine), exposed / len(mine))


def _union(intervals: Column) -> Column:
    """Intervals in order, those that touch as one."""
    ordered = intervals[np.argsort(intervals[:, 0], kind="stable")]
    starts, ends = ordered[:, 0], np.maximum.accumulate(ordered[:, 1])
    opens = np.append(True, starts[1:] > ends[:-1])
    return np.stack([starts[opens], ends[np.append(opens[1:], True)]], axis=1)
