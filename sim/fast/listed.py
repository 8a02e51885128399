"""Lists of operations that a program launches: compiled when they come first, straight code when they come again."""

from __future__ import annotations

from collections.abc import Sequence

from sim.effects import Step
from sim.fast.caller import Caller
from sim.fast.plan import Plan, Planner
from sim.fast.segments import Filled
from sim.fast.straight import Run, written
from sim.program.ops import Op

REMEMBERED = 1024
"""Lists whose plans are kept."""
OFTEN = 6
"""Launches after which code is written, which costs as much as some fifteen of them: those that go on will be more."""


class _List:
    """A list's operations, their plan and durations, how often it was launched, and its code from ``OFTEN`` on."""

    __slots__ = ("count", "filled", "ops", "plan", "run")

    def __init__(self, ops: Sequence[Op], plan: Plan, filled: Filled) -> None:
        self.ops = ops
        self.plan = plan
        self.filled = filled
        self.count = 0
        self.run: Run | None = None


class Lists:
    """What a program launched so far."""

    def __init__(self, caller: Caller, planner: Planner) -> None:
        self._caller = caller
        self._planner = planner
        self._known: dict[tuple[str, int, int], _List] = {}

    def launch(self, stream: str, ops: Sequence[Op], step: Step) -> None:
        """Make the calls of a list on one stream."""
        key = stream, len(ops), id(ops[0]) if ops else 0
        known = self._known.get(key)
        if known is None or (known.ops is not ops and known.ops != (ops := tuple(ops))):
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            ops = tuple(ops)
            known = self._known[key] = _List(ops, *self._planner.of_ops(stream, ops))
        if known.run is not None and known.run((), step):
            return
        enqueue(self._caller, known.plan, known.filled, step)
        known.count += 1
        if known.count == OFTEN and self._caller.jitter is None:
            known.run = written(self._caller, known.plan, 0, known.filled)


def enqueue(caller: Caller, plan: Plan, filled: Filled, step: Step) -> None:
    """Make the calls of a plan."""
    for name, segments in plan:
        stream = caller.device.stream(name)
        for segment in segments:
            segment.make(caller, stream, filled, step)
