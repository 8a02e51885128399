"""A plan's calls as one piece of straight code: a few dozen sums and maxima of integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sim.effects import Step
from sim.fast.caller import Caller
from sim.fast.plan import Plan
from sim.fast.refusal import OutsideError
from sim.fast.script import Time
from sim.fast.segments import Filled
from sim.fast.trace import Trace

Run = Callable[[Sequence[int], Step], bool]
"""Takes the durations of a step's operations and the step, whose mark it sets; False if it may not be used now."""


def written(caller: Caller, plan: Plan, count: int, always: Filled | None = None) -> Run:
    """The code of a plan that has been run before, whose step has so many operations, or ``always`` takes the same.

    It holds for a device whose last kernel and copies came from the same streams as now, and whose launch queues
    cannot fill, and says False elsewhere, as it always does for a plan with a choice in it.
    """
    try:
        trace = Trace(caller)
        mark = trace.launch(plan, always or [Time(trace.script, (f"ns[{i}]",)) for i in range(count)])
        now = str(trace.now)
    except OutsideError:
        return lambda _ns, _step: False
    script, me = trace.script, trace.script.keep(caller)
    guards = trace.otherwise
    entered: list[str] = []
    for name, stream in caller.device.streams.items():
        if launches := trace.queue(name).count:
            guards.append(f"{script.keep(stream)}.launches.can_fill(now, {launches})")
            entered += trace.entered(name)
    lines = [f"now = {me}.now", f"if {' or '.join(guards)}: return False"]
    end = [*trace.left(), *entered, f"step.mark = {mark}", f"{me}.now = {now}", "return True"]
    run: Run = script.compiled("def run(ns, step):", [*lines, *script.before, *script.sums, *script.lines, *end])
    return run
