"""The servers of a scenario in one mode: one, or several replicas behind a router, and what they amount to together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from scenarios.errors import ScenarioError
from sim.fast.refusal import OutsideError
from sim.serving.router import ROUTERS
from sim.studies.fleet import Fleet, ServerSource
from sim.studies.machines import MachineName
from sim.studies.serving import ServingRun
from sim.timeline.metrics import pace
from sim.timeline.spans import Timeline

Told = Callable[[int], None]
APART = 1_000_003
"""From one server's seed to the next, so that none is another replication's."""


def timelines(run: ServingRun, mode: str, *, spans: bool = True, told: Told | None = None) -> list[Timeline]:
    """What each server of the scenario did; raises ``ScenarioError`` as ``ServingRun.timeline`` does."""
    if run.scenario.replicas.count == 1:
        return [run.timeline(mode, spans=spans, told=told)]
    why = ""
    if run.machine != "reference":
        try:
            return _together(run, mode, "fast", spans=spans, told=told)
        except ScenarioError as error:
            if run.machine == "fast" or not isinstance(error.__cause__, OutsideError):
                raise
            why = error.__cause__.feature
    return [replace(one, refusal=why) for one in _together(run, mode, "reference", spans=spans, told=told)]


def _together(run: ServingRun, mode: str, machine: MachineName, *, spans: bool, told: Told | None) -> list[Timeline]:
    replicas = run.scenario.replicas
    served = dict.fromkeys(range(replicas.count), 0)

    def serve(number: int, source: ServerSource) -> Timeline:
        def count(finished: int) -> None:
            served[number] = finished
            if told is not None:
                told(sum(served.values()))

        one = replace(run, machine=machine, seed=run.seed + number * APART)
        return one.timeline(mode, spans=spans, told=count, source=source)

    return Fleet(run.requests(), ROUTERS[replicas.router](), replicas.count).run(serve)


def tokens_per_s(servers: Sequence[Timeline]) -> float:
    """Tokens that clients of all servers got, from the first arrival to the last delivery."""
    arrival = min((s.arrival for one in servers for s in one.served), default=0)
    last = max(int(one.delivered("time")[-1]) for one in servers if one.deliveries)
    return sum(int(one.delivered("tokens").sum()) for one in servers) * 1e9 / max(1, last - arrival)


def step_ns(servers: Sequence[Timeline], *, closed: bool) -> float:
    """The mean step over the servers that had any."""
    steps = [pace(one, closed=closed).step_ns for one in servers if one.deliveries]
    return sum(steps) / len(steps)
