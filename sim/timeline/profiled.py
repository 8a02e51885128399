"""Whether a timeline was recorded in a process that profiles: there a graph's launch costs the host by its nodes."""

from __future__ import annotations

from collections.abc import Iterable
from math import log
from statistics import median
from typing import NamedTuple

import numpy as np

from scenarios.profile import Constants, Profile, ProfiledConstants
from sim.timeline.kineto import Trace
from sim.timeline.spans import Kind, Timeline

GRAPH_LAUNCHES = frozenset({"cudaGraphLaunch", "cuGraphLaunch", "hipGraphLaunch"})


class GraphLaunch(NamedTuple):
    """How many kernels and copies one launch of a graph started, and how long the call took (ns)."""

    nodes: int
    call: int


def is_profiled(launches: Iterable[GraphLaunch], profile: Profile) -> bool | None:
    """Whether graphs were launched at the cost of a process in which a profiler has run, or runs.

    Each call is held against both costs that the profile knows for its nodes; the middle of all ratios decides which
    is nearer. None where nothing can be told: no graph with a node was launched, or the profile does not know both.
    """
    if profile.profiled is None:
        return None
    clean, slow = profile.constants, profile.profiled
    sides = [
        log(max(1, call) / _cost(clean, nodes)) + log(max(1, call) / _cost(slow, nodes))
        for nodes, call in launches
        if nodes
    ]
    return median(sides) > 0 if sides else None


def _cost(constants: Constants | ProfiledConstants, nodes: int) -> float:
    return constants.graph_launch_call.value + constants.graph_launch_call_per_1000_nodes.value * nodes / 1000


def launches_of(timeline: Timeline) -> list[GraphLaunch]:
    """The graph launches of a timeline whose calls carry the names of the runtime."""
    numbers = [i for i, name in enumerate(timeline.names) if name in GRAPH_LAUNCHES]
    kinds, names = timeline.column("kind"), timeline.column("name")
    calls = timeline.table[(kinds == Kind.CALL) & np.isin(names, numbers)]
    ids = np.sort(timeline.column("correlation")[timeline.on_device])
    nodes = np.searchsorted(ids, calls[:, 5], "right") - np.searchsorted(ids, calls[:, 5], "left")
    return [GraphLaunch(n, t) for n, t in zip(nodes.tolist(), (calls[:, 2] - calls[:, 1]).tolist(), strict=True)]


def launches_in(trace: Trace) -> list[GraphLaunch]:
    """The graph launches of a profiler's trace."""
    ids = np.sort(np.array([work.correlation for work in trace.work], dtype=np.int64))
    calls = [call for call in trace.calls if call.name in GRAPH_LAUNCHES]
    counts = [int(np.searchsorted(ids, c.correlation, "right") - np.searchsorted(ids, c.correlation)) for c in calls]
    return [GraphLaunch(n, call.end - call.start) for n, call in zip(counts, calls, strict=True)]
