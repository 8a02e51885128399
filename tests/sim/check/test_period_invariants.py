"""The laws of periods hold in every mode of every engine, bite on runs broken by hand, and know their preconditions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scenarios.loader import list_engines, load_engine
from sim.check.invariant import Evidence
from sim.check.periods import PERIODS, steady_steps
from sim.check.world import Asked, World
from sim.machine.machine import Machine
from sim.timeline.spans import Spans

MODES = ("serial-eager", "serial-graph", "overlap-eager", "overlap-graph")
RUNS = [(engine, mode) for engine in list_engines() for mode in MODES if load_engine(engine).lacks(mode) is None]
CLOSED = World(tuple(Asked(0, 5, 20) for _ in range(4)), "overlap-graph", None, {"preset": "lean"}, layers=True)


def served(world: World) -> Evidence:
    run = world.serving()
    threads = run.threads(world.mode, run.server(world.mode))
    return Evidence(Machine(run.costs(), run.lowering()).run(threads, world.source(), warm=run.warm()), run.costs())


def later(evidence: Evidence, from_step: int, by: int) -> Evidence:
    """All that happens after the delivery of a step happens so much later."""
    timeline = evidence.timeline
    at = next(d.time for d in timeline.deliveries if d.step == from_step)
    table = timeline.table.copy()
    table[:, 1:3] += by * (table[:, 1:2] >= at)
    deliveries = tuple(replace(d, time=d.time + by * (d.time > at)) for d in timeline.deliveries)
    spans = Spans.of(timeline.names, table)
    return replace(evidence, timeline=replace(timeline, spans=spans, deliveries=deliveries))


@pytest.mark.parametrize(("engine", "mode"), RUNS)
def test_every_engines_period_lies_between_floor_and_ceiling(engine: str, mode: str) -> None:
    world = replace(CLOSED, mode=mode, engine={"preset": engine})
    several = mode.startswith("overlap") and load_engine(engine).overlap.host_threads > 1
    for host, layers in ((30, True), (300, False), (0, False)):
        evidence = served(replace(world, host=host, layers=layers))
        assert (steady_steps(evidence) is None) == several
        assert not PERIODS.broken(evidence)


def test_a_step_is_what_its_thread_and_its_stream_do() -> None:
    found = steady_steps(served(replace(CLOSED, layers=False, host=300)))
    assert found is not None
    assert (found.steps, found.device, found.kernels, found.ahead) == (13, 1_300_000, 13, True)
    assert found.period > found.host > 13 * 300_000


def test_time_that_nobody_needs_is_above_the_ceiling() -> None:
    evidence = served(CLOSED)
    (told,) = PERIODS.broken(later(evidence, 9, 1_500_000))
    assert "13 steps, launched ahead of the wait for the one before, take" in str(told)
    (told,) = PERIODS.broken(later(served(replace(CLOSED, mode="serial-eager")), 9, 3_000_000))
    assert "13 steps, launched after it, take" in str(told)
    assert not PERIODS.broken(replace(later(evidence, 9, 1_500_000), costs=None))


def test_steps_faster_than_host_or_device_are_below_the_floor() -> None:
    evidence = served(CLOSED)
    quick = tuple(replace(d, time=d.step) for d in evidence.timeline.deliveries)
    (told,) = PERIODS.broken(replace(evidence, timeline=replace(evidence.timeline, deliveries=quick)), ["period-floor"])
    assert "13 steps are delivered within 13 ns, the host works" in str(told)
    table = evidence.timeline.table.copy()
    table[np.isin(table[:, 6], (4, 17)), 2] = 1_000_000_000
    timeline = replace(evidence.timeline, spans=Spans.of(evidence.timeline.names, table))
    told = PERIODS.broken(replace(evidence, timeline=timeline), ["period-floor"])[0]
    assert "13 steps end within 0 ns, their kernels take" in str(told)


@pytest.mark.parametrize(
    "world",
    [
        replace(CLOSED, requests=(*CLOSED.requests, Asked(7, 5, 20))),  # not closed
        replace(CLOSED, requests=tuple(Asked(0, 5, 12) for _ in range(4)), limit=20),  # ends by stops
        replace(CLOSED, requests=tuple(Asked(0, 5, 6) for _ in range(4))),  # too short
    ],
    ids=["arrivals", "stops", "few steps"],
)
def test_nothing_is_asked_where_the_preconditions_do_not_hold(world: World) -> None:
    assert steady_steps(served(world)) is None


def test_nothing_is_asked_of_a_launch_queue_that_fills() -> None:
    evidence = served(replace(CLOSED, mode="overlap-eager"))
    assert evidence.costs is not None
    constants = replace(evidence.costs.constants, queue_depth=1)
    assert steady_steps(evidence) is not None
    assert steady_steps(replace(evidence, costs=replace(evidence.costs, constants=constants))) is None
