"""One point's numbers, as a row; what a worker process does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from time import perf_counter
from typing import Any

from scenarios.errors import ScenarioError
from scenarios.loader import LoadedScenario, load_scenario
from scenarios.program import WithoutServer
from scenarios.scenario import Serving
from sim.fast.refusal import OutsideError
from sim.studies.machines import MachineName
from sim.studies.program import program_metrics, run_program
from sim.studies.replicas import Arrays, SideBySide, refusal
from sim.studies.servers import step_ns, timelines, tokens_per_s
from sim.studies.serving import ServingRun
from sim.studies.sweep.axes import Point
from sim.timeline.latency import Latencies

Row = dict[str, Any]
TIMES_ALONE = frozenset({"host.scale", "host.extra", "kernels.scale", "workload.context"})
"""Keys that change how long things take, and, for a closed batch that fits into memory, nothing else."""
FEWEST = 4
"""Points that are simulated faster side by side than one by one."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked at every point: a scenario, changes common to all points, and a digest of both.

    ``arrays`` compute with the columns of points that are simulated side by side.
    """

    scenario: str
    overrides: tuple[str, ...]
    model: str | None
    digest: str
    machine: MachineName = "auto"
    arrays: Arrays = field(default_factory=Arrays)


def evaluate(question: Question, points: Sequence[Point]) -> list[Row]:
    """The rows of some points: ``point`` is the digest, ``error`` a sentence where a point cannot be run.

    Closed batches that take the same decisions are simulated side by side, the others one by one: then ``alone`` says
    why.
    """
    rows: dict[Point, Row] = {}
    for alike in alike_of(points):
        began = perf_counter()
        found, alone = _together(question, alike)
        shared = (perf_counter() - began) / len(alike)
        for point in alike:
            rows[point] = _row(question, point, shared, found.get(point), alone)
    return [rows[point] for point in points]


def alike_of(points: Sequence[Point]) -> list[list[Point]]:
    """Points that differ only in what leaves a run's decisions alone."""
    groups: dict[tuple[str, ...], list[Point]] = defaultdict(list)
    for point in points:
        groups[decisive(point)].append(point)
    return list(groups.values())


def why_alone(question: Question, alike: Sequence[Point]) -> str:
    """Why such points are simulated one by one, as far as that is known before; empty if they may be side by side."""
    if question.machine == "reference":
        return "the reference machine"
    few = f"fewer than {FEWEST} points that differ in {', '.join(sorted(TIMES_ALONE))} alone"
    if len(alike) < FEWEST:
        return _refusal(question.scenario, question.overrides, question.model) or few
    return _refusal(question.scenario, (*question.overrides, *alike[0].overrides), question.model)


@lru_cache(maxsize=1 << 12)
def _refusal(scenario: str, overrides: tuple[str, ...], model: str | None) -> str:
    try:
        loaded = load_scenario(scenario, overrides, model).scenario
    except ScenarioError:
        return "an error in the scenario"
    return refusal(loaded) if isinstance(loaded, Serving) else "a program without a server"


def decisive(point: Point) -> tuple[str, ...]:
    """Its overrides but those that change times alone."""
    return tuple(text for text in point.overrides if _key(text) not in TIMES_ALONE)


def _key(override: str) -> str:
    return override.partition("=")[0]


def _together(question: Question, points: Sequence[Point]) -> tuple[dict[Point, Row], str]:
    """Answers to those points that can be simulated side by side, and why the others cannot."""
    if why := why_alone(question, points):
        return {}, why
    values: dict[Point, dict[str, Any]] = {}
    for point in points:
        with suppress(ScenarioError):
            texts = [text for text in point.overrides if _key(text) in TIMES_ALONE]
            values[point] = {_key(t): _value(question.scenario, question.overrides, question.model, t) for t in texts}
    try:
        return _side_by_side(question, values), "requests that wait for room, or an error in the scenario"
    except OutsideError as error:
        return {}, error.feature
    except ScenarioError:  # each point by itself then, which says what is wrong with which
        return {}, "an error in the scenario"


@lru_cache(maxsize=1 << 16)
def _value(scenario: str, overrides: tuple[str, ...], model: str | None, text: str) -> Any:
    """What one of ``TIMES_ALONE`` is at some points, whatever the other keys are there."""
    value: Any = load_scenario(scenario, (*overrides, text), model).scenario
    for part in _key(text).split("."):
        value = getattr(value, part)
    return value


def _side_by_side(question: Question, values: dict[Point, dict[str, Any]]) -> dict[Point, Row]:
    """One simulation a mode of points that differ in these values alone."""
    some = next(iter(values), None)
    if some is None:
        return {}
    base = _load(question, replace(some, overrides=decisive(some)))
    assert isinstance(base.scenario, Serving)
    first = ServingRun.of(base, machine=question.machine)
    host, room, batch = base.scenario.host, first.smallest_cache, base.scenario.workload.batch or 0
    runs: list[ServingRun] = []
    number: dict[object, int | None] = {}  # None: more requests than there is room for
    placed: list[tuple[Point, int, float, int]] = []
    for point, given in values.items():
        key = repr(given.get("workload.context")), given.get("kernels.scale"), point.seed
        if key not in number:
            run = replace(_changed(first, given), seed=point.seed)
            number[key] = len(runs) if (fits := run.largest_of(room) >= batch) else None
            runs += [run] if fits else []
        if (which_run := number[key]) is not None:
            hosts = given.get("host.scale", host.scale), given.get("host.extra", host.extra)
            placed.append((point, which_run, *hosts))
    if not placed:
        return {}
    points, which, scale, extra = zip(*placed, strict=True)
    together = SideBySide(runs, which, scale, extra, question.arrays)
    modes = base.scenario.engine.modes
    columns: dict[str, list[Any]] = {}
    for mode in modes:
        paces = together.paces(mode)
        columns[f"{mode}.step_us"] = (paces.step_ns / 1000).tolist()
        columns[f"{mode}.tokens_per_s"] = paces.tokens_per_s.tolist()
        columns[f"{mode}.machine"] = ["fast"] * len(points)
    found = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return {point: row | _speedups(row, modes, "step_us") for point, row in zip(points, found, strict=True)}


def _changed(run: ServingRun, given: dict[str, Any]) -> ServingRun:
    """The run with another context and other kernels, as far as these are given."""
    if "kernels.scale" in given:
        kernels = run.scenario.kernels.model_copy(update={"scale": given["kernels.scale"]})
        run = replace(run, scenario=run.scenario.model_copy(update={"kernels": kernels}))
    return run.with_workload(context=given["workload.context"]) if "workload.context" in given else run


def _row(question: Question, point: Point, seconds: float, found: Row | None, alone: str) -> Row:
    row: Row = {"point": point.digest(question.digest), "seed": point.seed}
    row |= {key: number(value) for key, _, value in (text.partition("=") for text in point.overrides)}
    began = perf_counter()
    try:
        row |= answer(question, point) if found is None else found
        row["error"] = None
    except ScenarioError as error:
        row["error"] = "; ".join(map(str, error.problems))
    row["alone"] = alone if found is None else None
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
