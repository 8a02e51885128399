"""When the kernels of a graph run, if nothing but each other holds them up."""

from __future__ import annotations

from heapq import heappop, heappush

from sim.program.constants import Constants
from sim.program.ops import Graph

Plan = tuple[tuple[int, int], ...]
"""Start and end of each kernel, in nanoseconds from the start of the graph."""
ROOM = 1e-9  # shares are sums of fractions


def graph_plan(graph: Graph, constants: Constants) -> Plan:
    """A kernel starts a gap after those that it waits for, as soon as there is room for it beside those that run.

    Of two that are ready, the one that was ready first goes first, and holds up the other until there is room for it.
    """
    kernels = graph.kernels
    after = graph.after or tuple((i - 1,) if i else () for i in range(len(kernels)))
    missing = [len(deps) for deps in after]
    following: list[list[int]] = [[] for _ in kernels]
    for position, deps in enumerate(after):
        for dep in deps:
            following[dep].append(position)
    ready = [(0, position) for position, count in enumerate(missing) if not count]
    running: list[tuple[int, int]] = []
    plan = [(0, 0)] * len(kernels)
    free, now = 1.0, 0
    while ready or running:
        if ready and ready[0][0] <= now and kernels[ready[0][1]].sm <= free + ROOM:
            _, position = heappop(ready)
            free -= kernels[position].sm
            plan[position] = now, now + kernels[position].ns
            heappush(running, (now + kernels[position].ns, position))
        elif ready and ready[0][0] > now and (not running or ready[0][0] < running[0][0]):
            now = ready[0][0]
        else:
            now, position = heappop(running)
            free += kernels[position].sm
            for later in following[position]:
                missing[later] -= 1
                if not missing[later]:
                    gap = constants.graph_join_gap if len(after[later]) > 1 else constants.graph_gap
                    heappush(ready, (now + gap, later))
    return tuple(plan)


def moments(plan: Plan) -> list[tuple[int, bool, int]]:
    """What happens when: (time, whether a kernel begins, which), an end before the beginnings at the same time."""
    begins = [(start, 1, True, i) for i, (start, _) in enumerate(plan)]
    ends = [(end, 2 if start == end else 0, False, i) for i, (start, end) in enumerate(plan)]
    return [(at, begin, i) for at, _, begin, i in sorted(begins + ends)]
