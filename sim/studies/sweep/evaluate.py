"""One point's numbers, as a row; what a worker process does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from scenarios.errors import ScenarioError
from scenarios.loader import LoadedScenario, load_scenario
from scenarios.program import WithoutServer
from scenarios.scenario import Serving
from sim.fast.refusal import OutsideError
from sim.studies.machines import MachineName
from sim.studies.program import program_metrics, run_program
from sim.studies.replicas import SideBySide
from sim.studies.servers import step_ns, timelines, tokens_per_s
from sim.studies.serving import ServingRun
from sim.studies.sweep.axes import Point
from sim.timeline.latency import Latencies
from sim.timeline.metrics import StepPace

Row = dict[str, Any]
TIMES_ALONE = frozenset({"host.scale", "host.extra", "kernels.scale", "workload.context"})
"""Keys that change how long things take, and, for a closed batch that fits into memory, nothing else."""
FEWEST = 4
"""Points that are simulated faster side by side than one by one."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked at every point: a scenario, changes common to all points, and a digest of both."""

    scenario: str
    overrides: tuple[str, ...]
    model: str | None
    digest: str
    machine: MachineName = "auto"


def evaluate(question: Question, points: Sequence[Point]) -> list[Row]:
    """The rows of some points: ``point`` is the digest, ``error`` a sentence where a point cannot be run.

    Closed batches that take the same decisions are simulated side by side, the others one by one.
    """
    rows: dict[Point, Row] = {}
    for alike in _alike(points):
        began = perf_counter()
        found = _together(question, alike) if question.machine != "reference" and len(alike) >= FEWEST else {}
        shared = (perf_counter() - began) / len(alike)
        for point in alike:
            rows[point] = _row(question, point, shared, found.get(point))
    return [rows[point] for point in points]


def _alike(points: Iterable[Point]) -> Iterator[list[Point]]:
    """Points that differ only in what leaves a run's decisions alone."""
    groups: dict[tuple[str, ...], list[Point]] = defaultdict(list)
    for point in points:
        groups[decisive(point)].append(point)
    yield from groups.values()


def decisive(point: Point) -> tuple[str, ...]:
    """Its overrides but those that change times alone."""
    return tuple(text for text in point.overrides if text.partition("=")[0] not in TIMES_ALONE)


def _together(question: Question, points: Sequence[Point]) -> dict[Point, Row]:
    """Answers to those points that can be simulated side by side."""
    runs: dict[Point, ServingRun] = {}
    for point in points:
        with suppress(ScenarioError):
            loaded = _load(question, point)
            if isinstance(loaded.scenario, Serving):
                runs[point] = ServingRun.of(loaded, point.seed, question.machine)
    if len(runs) < FEWEST:
        return {}
    modes = next(iter(runs.values())).scenario.engine.modes
    found: dict[Point, Row] = {point: {} for point in runs}
    try:
        together = SideBySide(list(runs.values()))
        for mode in modes:
            for point, measured in zip(runs, together.paces(mode), strict=True):
                found[point] |= _measured(mode, measured, "fast")
    except (OutsideError, ScenarioError):  # each point by itself then, which says what is wrong with which
        return {}
    return {point: row | _speedups(row, modes, "step_us") for point, row in found.items()}


def _row(question: Question, point: Point, seconds: float, found: Row | None) -> Row:
    row: Row = {"point": point.digest(question.digest), "seed": point.seed}
    row |= {key: number(value) for key, _, value in (text.partition("=") for text in point.overrides)}
    began = perf_counter()
    try:
        row |= answer(question, point) if found is None else found
        row["error"] = None
    except ScenarioError as error:
        row["error"] = "; ".join(map(str, error.problems))
    row["seconds"] = perf_counter() - began + seconds
    return row


def _load(question: Question, point: Point) -> LoadedScenario:
    return load_scenario(question.scenario, (*question.overrides, *point.overrides), question.model)


def answer(question: Question, point: Point) -> Row:
    """``MODE.step_us`` and so on for each mode, and ``MODE.machine``, which says who simulated it."""
    loaded = _load(question, point)
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
        servers = timelines(run, mode, spans=False)
        found[f"{mode}.step_us"] = step_ns(servers, closed=closed) / 1000
        found[f"{mode}.tokens_per_s"] = tokens_per_s(servers)
        if not closed:
            latencies = Latencies.of(*servers).as_json(loaded.scenario.limits.given)
            found |= {f"{mode}.{name}": value for name, value in latencies.items()}
        found[f"{mode}.machine"] = servers[0].machine
    return found | _speedups(found, modes, "step_us" if closed else "tpot_mean_us")


def _measured(mode: str, found: StepPace, machine: str) -> Row:
    return {
        f"{mode}.step_us": found.step_ns / 1000,
        f"{mode}.tokens_per_s": found.tokens_per_s,
        f"{mode}.machine": machine,
    }


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
