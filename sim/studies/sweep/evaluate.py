"""One point's numbers, as a row; what a worker process does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from scenarios.errors import ScenarioError
from scenarios.loader import load_scenario
from scenarios.program import WithoutServer
from sim.studies.machines import MachineName
from sim.studies.program import program_metrics, run_program
from sim.studies.serving import ServingRun
from sim.studies.sweep.axes import Point
from sim.timeline.latency import Latencies
from sim.timeline.metrics import pace

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked at every point: a scenario, changes common to all points, and a digest of both."""

    scenario: str
    overrides: tuple[str, ...]
    model: str | None
    digest: str
    machine: MachineName = "auto"


def evaluate(question: Question, points: Sequence[Point]) -> list[Row]:
    """The rows of some points: ``point`` is the digest, ``error`` a sentence where a point cannot be run."""
    return [_row(question, point) for point in points]


def _row(question: Question, point: Point) -> Row:
    row: Row = {"point": point.digest(question.digest), "seed": point.seed}
    row |= {key: number(value) for key, _, value in (text.partition("=") for text in point.overrides)}
    began = perf_counter()
    try:
        row |= answer(question, point)
        row["error"] = None
    except ScenarioError as error:
        row["error"] = "; ".join(map(str, error.problems))
    row["seconds"] = perf_counter() - began
    return row


def answer(question: Question, point: Point) -> Row:
    """``MODE.step_us`` and so on for each mode, and ``MODE.machine``, which says who simulated it."""
    loaded = load_scenario(question.scenario, (*question.overrides, *point.overrides), question.model)
    found: Row = {}
    if isinstance(loaded.scenario, WithoutServer):
        for program_mode in loaded.scenario.modes:
            timeline = run_program(loaded, program_mode, point.seed, question.machine)
            found[f"{program_mode}.total_us"] = program_metrics(timeline).total_ns / 1000
            found[f"{program_mode}.machine"] = timeline.machine
        return found | _speedups(found, loaded.scenario.modes, "total_us")
    run = ServingRun.of(loaded, point.seed, question.machine)
    closed = loaded.scenario.workload.batch is not None
    modes: tuple[str, ...] = loaded.scenario.engine.modes
    for mode in modes:
        timeline = run.timeline(mode, spans=False)
        measured = pace(timeline, closed=closed)
        found[f"{mode}.step_us"] = measured.step_ns / 1000
        found[f"{mode}.tokens_per_s"] = measured.tokens_per_s
        if not closed:
            latencies = Latencies.of(timeline).as_json(loaded.scenario.limits.given)
            found |= {f"{mode}.{name}": value for name, value in latencies.items()}
        found[f"{mode}.machine"] = timeline.machine
    return found | _speedups(found, modes, "step_us" if closed else "tpot_mean_us")


def _speedups(found: Row, modes: Sequence[str], key: str) -> Row:
    """How many times faster each mode is than the first."""
    base = found[f"{modes[0]}.{key}"]
    return {f"{mode}.speedup": base / time if (time := found[f"{mode}.{key}"]) else 1.0 for mode in modes}


def number(text: str) -> int | float | str:
    """A value of an axis as a row holds it."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
