"""Where prediction and measurement part, for the worst cases of a validation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from gpu.validation.backend import Backend
from gpu.validation.runner import Outcome
from scenarios.errors import ScenarioError
from scenarios.suite import Suite
from sim.studies.validation.parting import first_parting
from sim.studies.validation.predict import predict
from sim.studies.validation.results_file import Case, ResultsFile
from sim.timeline.spans import Timeline

Pair = tuple[Timeline, Timeline]
LIMIT_S = 120.0
"""How long all processes that profile may take together: the times that matter are measured by then."""


def pairs_of(
    suite: Suite,
    outcome: Outcome,
    cases: Iterable[Case],
    backend: Backend,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Pair]:
    """The predicted and the measured timeline of each of these cases that has one, by name.

    ``tell`` hears what is profiled and what could not be: a case without a timeline costs no result.
    """
    configurations = {(one.scenario, one.set): one for one in suite.configurations}
    by_configuration: dict[tuple[str, tuple[str, ...]], list[Case]] = {}
    for case in cases:
        if case.configuration in configurations:
            by_configuration.setdefault(case.configuration, []).append(case)
    until = clock() + LIMIT_S
    pairs: dict[str, Pair] = {}
    for key, members in by_configuration.items():
        configuration = configurations[key]
        measured = {mode: found for (*of, mode), found in outcome.timelines.items() if tuple(of) == key}
        if backend.spans is not None:
            tell(f"{configuration.name}: once more in a process that profiles, to name where it parts")
            try:
                measured = dict(backend.spans(configuration, members, seed, max(0.0, until - clock())))
            except ScenarioError as error:
                tell(f"{configuration.name}: where it parts is not known: {error}")
                continue
        for case in members:
            if case.mode in measured:
                numbers = case.in_process if case.predicted_in_process_ns is not None else None
                predicted = predict(configuration.loaded, case.mode, seed, numbers).timeline
                pairs[case.name] = predicted, measured[case.mode]
    return pairs


def with_partings(results: ResultsFile, pairs: dict[str, Pair]) -> ResultsFile:
    """The results with a sentence in each of these cases whose timelines part."""
    cases = []
    for case in results.cases:
        parting = first_parting(*pairs[case.name]) if case.name in pairs else None
        cases.append(case if parting is None else case.model_copy(update={"parting": str(parting)}))
    return results.model_copy(update={"cases": tuple(cases)})
