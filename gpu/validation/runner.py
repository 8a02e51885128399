"""Measures the configurations of a suite, one after the other, and keeps each as soon as it is done.

Nothing here profiles: what has been profiled once is slower for good.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gpu.measure import CapturesGraphs
from gpu.session import Session
from gpu.validation.backend import Backend, HostNumbers
from scenarios.loader import LoadedScenario
from scenarios.scenario import Serving
from scenarios.suite import Configuration, Suite
from sim.studies.validation.cases import case_of, is_finished
from sim.studies.validation.clients import client_metrics
from sim.studies.validation.drift import host_ranges
from sim.studies.validation.predict import host_parts_of, value_of
from sim.studies.validation.results_file import Captures, ResultsFile, write_results
from sim.timeline.spans import Timeline

Key = tuple[str, tuple[str, ...], str]


@dataclass
class Measurement:
    """One configuration: every repeat's value by mode, the host's costs after each repeat, and the last timelines.

    ``host_parts`` is what the host thread did of a step, ``clients`` what the clients of an open loop saw, by mode and
    repeat; ``captures`` what graphs took.
    """

    values: dict[str, list[int]]
    host_numbers: list[HostNumbers] = field(default_factory=list)
    timelines: dict[str, Timeline] = field(default_factory=dict)
    host_parts: dict[str, list[HostNumbers]] = field(default_factory=dict)
    clients: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    captures: Captures | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """All cases, and the timelines of those that were measured now, by scenario, overrides and mode."""

    results: ResultsFile
    timelines: dict[Key, Timeline]


def measure(
    configuration: Configuration,
    backend: Backend,
    repeats: int,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Measurement:
    """Every mode once to warm up, then all modes in turn, ``repeats`` times; ``progress`` is told of every run.

    Each repeat begins with another mode: a device that has had a rest, as it has while the host's costs are measured,
    computes its next 200 ms of prompts 2 % faster than those after it.
    """
    loaded, modes = configuration.loaded, configuration.modes
    measured = Measurement({mode: [] for mode in modes})
    session = backend.open_session(loaded, backend.on, seed)
    gc.collect()
    gc.freeze()  # what is there by now is not looked through again before every run
    try:
        for mode in modes:
            session.run(mode)
            progress(f"{configuration.name}: warm-up")
        for number in range(1, repeats + 1):
            first = number % len(modes)
            for mode in (*modes[first:], *modes[:first]):
                timeline = session.run(mode)
                measured.values[mode].append(value_of(loaded, timeline))
                measured.timelines[mode] = timeline
                measured.host_parts.setdefault(mode, []).append(host_parts_of(loaded, timeline))
                if clients := client_metrics(loaded, timeline):
                    measured.clients.setdefault(mode, []).append(clients)
                progress(f"{configuration.name}: repeat {number} of {repeats}")
            of_prompts = computes_prompts(loaded) and number % 2 == 1  # they take seconds
            measured.host_numbers.append(backend.measure_host(backend.on, of_prompts))
        measured.captures = _captures(configuration, session)
    finally:
        gc.unfreeze()
        session.close()
    return measured


def measure_suite(
    suite: Suite,
    backend: Backend,
    provenance: dict[str, Any],
    *,
    repeats: int,
    seed: int = 0,
    path: Path | None = None,
    done: ResultsFile | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Measure every configuration that ``done`` does not hold; after each, write all there is to ``path``."""
    results = done or ResultsFile(provenance=provenance, cases=())
    results = results.model_copy(update={"provenance": provenance})
    timelines: dict[Key, Timeline] = {}
    for configuration in suite.configurations:
        if is_finished(configuration, results.cases):
            continue
        measured = measure(configuration, backend, repeats, seed, progress)
        numbers = median_numbers(measured.host_numbers)
        for mode, timeline in measured.timelines.items():
            timelines[configuration.scenario, configuration.set, mode] = timeline
        new = [
            case_of(
                configuration,
                mode,
                ns,
                numbers,
                seed,
                median_numbers(measured.host_parts[mode]),
                measured.clients.get(mode, ()),
            )
            for mode, ns in measured.values.items()
        ]
        cases = (*(c for c in results.cases if c.configuration != new[0].configuration), *new)
        drift = host_ranges(case.in_process for case in cases)
        captures = (
            *(c for c in results.captures if c.configuration != configuration.name),
            *([measured.captures] if measured.captures else []),
        )
        results = ResultsFile(provenance={**results.provenance, "host_drift": drift}, cases=cases, captures=captures)
        if path is not None:
            write_results(path, results)
    return Outcome(results, timelines)


def computes_prompts(loaded: LoadedScenario) -> bool:
    """Whether a scenario's requests come with prompts, rather than as a batch that decodes."""
    return isinstance(loaded.scenario, Serving) and loaded.scenario.workload.batch is None


def _captures(configuration: Configuration, session: Session) -> Captures | None:
    """What the session's graphs took to capture, in the order of their capture; None of a session without graphs."""
    if not isinstance(session, CapturesGraphs) or not (captured := session.captured()):
        return None
    rows = sorted(captured, reverse=True)
    return Captures(
        configuration=configuration.name,
        model=getattr(configuration.loaded.model, "name", "timer"),
        rows=tuple(rows),
        capture_ns=tuple(captured[r].capture_ns for r in rows),
        first_replay_ns=tuple(captured[r].first_replay_ns for r in rows),
        memory=tuple(captured[r].memory for r in rows),
    )


def median_numbers(repeats: list[HostNumbers]) -> HostNumbers:
    """The median of each number over the repeats."""
    names = dict.fromkeys(name for numbers in repeats for name in numbers)
    return {name: round(float(np.median([numbers[name] for numbers in repeats if name in numbers]))) for name in names}
