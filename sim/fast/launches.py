"""Launches of batches: call by call at first, as straight code when batches of the same frame have often come."""

from __future__ import annotations

from collections import Counter

from sim.effects import Phase, Step
from sim.fast.caller import Caller
from sim.fast.listed import OFTEN, enqueue
from sim.fast.plan import Plan, Planner
from sim.fast.segments import Filled
from sim.fast.straight import Run, written
from sim.program.frame import Frame
from sim.program.lowering import Framing


class BatchLaunches:
    """What was launched last is a ``phase`` with the ``plan`` of a ``frame``; ``before`` is the frame before that."""

    def __init__(self, caller: Caller, framing: Framing, planner: Planner) -> None:
        self.framing = framing
        self.phase: Phase | None = None
        self.frame: Frame | None = None
        self.before: Frame | None = None
        self.plan: Plan = ()
        self._caller = caller
        self._planner = planner
        self._met: Counter[Frame] = Counter()
        self._runs: dict[Frame, tuple[Plan, Run]] = {}

    def launched(self, work: Phase, frame: Frame, plan: Plan) -> None:
        """The calls of a batch's phase have been made."""
        self.before = self.frame
        self.phase, self.frame, self.plan = work, frame, plan

    def launch(self, work: Phase, step: Step) -> None:
        """Make the calls of a batch's phase."""
        frame, ns = self.framing.framed(work)
        plan, run = self._runs.get(frame) or (self._planner.of_frame(frame), None)
        if run is None or not run(ns, step):
            enqueue(self._caller, plan, Filled(ns), step)
            if run is None and self._caller.jitter is None:
                self._met[frame] += 1
                if self._met[frame] == OFTEN:
                    self._runs[frame] = plan, written(self._caller, plan, len(ns))
        self.launched(work, frame, plan)
