"""The prediction of one mode, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from scenarios.loader import LoadedScenario
from scenarios.scenario import Serving
from sim.studies.program import program_metrics, run_program
from sim.studies.serving import ServingRun
from sim.studies.validation.clients import client_metrics
from sim.studies.validation.results_file import Parts, Quantity
from sim.timeline.metrics import host_parts, pace, step_metrics
from sim.timeline.spans import Kind, Timeline


@dataclass(frozen=True, slots=True)
class Prediction:
    """One mode: nanoseconds a step or in all, what they are made of, and the timeline they were read from.

    ``clients`` is what the clients of an open loop saw.
    """

    ns: int
    parts: Parts
    timeline: Timeline
    clients: dict[str, float]


def quantity_of(loaded: LoadedScenario) -> Quantity:
    """What is compared of a scenario: a server's step, a program's total."""
    return "step" if isinstance(loaded.scenario, Serving) else "total"


def value_of(loaded: LoadedScenario, timeline: Timeline) -> int:
    """The compared quantity of a timeline, predicted or measured, in nanoseconds."""
    if isinstance(loaded.scenario, Serving):
        return round(step_metrics(timeline, closed=loaded.scenario.workload.batch is not None).step_ns)
    return program_metrics(timeline).total_ns


def host_parts_of(loaded: LoadedScenario, timeline: Timeline) -> dict[str, int]:
    """What the host thread did of a server's step, in nanoseconds by ``HOST_PARTS``; nothing of a program."""
    if not isinstance(loaded.scenario, Serving):
        return {}
    found = pace(timeline, closed=loaded.scenario.workload.batch is not None)
    return {part: round(ns) for part, ns in host_parts(timeline, found.window, found.steps).items()}


def predict(
    loaded: LoadedScenario, mode: str, seed: int = 0, host_numbers: Mapping[str, int] | None = None
) -> Prediction:
    """Simulate one mode, with the profile's host costs or with those measured in the process."""
    if isinstance(loaded.scenario, Serving):
        run = ServingRun.of(loaded, seed)
        if host_numbers:
            run = run.with_host_numbers(host_numbers)
        timeline = run.timeline(mode)
    else:
        timeline = run_program(loaded, mode, seed, numbers=host_numbers or None)
    return Prediction(value_of(loaded, timeline), _parts(loaded, timeline), timeline, client_metrics(loaded, timeline))


def _parts(loaded: LoadedScenario, timeline: Timeline) -> Parts:
    steps, counted = 1, np.full(len(timeline.table), fill_value=True)
    if isinstance(loaded.scenario, Serving):
        found = step_metrics(timeline, closed=loaded.scenario.workload.batch is not None)
        start, end = found.window
        steps, counted = found.steps, (timeline.column("start") >= start) & (timeline.column("start") < end)
    kind, length = timeline.column("kind"), timeline.column("end") - timeline.column("start")

    def a_step(of: np.typing.NDArray[np.bool_]) -> int:
        return round(Fraction(int(length[counted & of].sum()), steps))

    return Parts(
        host_ns=a_step(kind == Kind.HOST), launch_ns=a_step(kind == Kind.CALL), device_ns=a_step(timeline.on_device)
    )
