"""Where prediction and measurement part, for the worst cases of a validation."""

from __future__ import annotations

from collections.abc import Iterable

from gpu.validation.backend import Backend
from gpu.validation.runner import Outcome
from scenarios.suite import Suite
from sim.studies.validation.parting import first_parting
from sim.studies.validation.predict import predict
from sim.studies.validation.results_file import Case, ResultsFile
from sim.timeline.spans import Timeline

Pair = tuple[Timeline, Timeline]


def pairs_of(suite: Suite, outcome: Outcome, cases: Iterable[Case], backend: Backend, seed: int = 0) -> dict[str, Pair]:
    """The predicted and the measured timeline of each of these cases that has one, by name."""
    configurations = {(one.scenario, one.set): one for one in suite.configurations}
    pairs: dict[str, Pair] = {}
    for case in cases:
        configuration = configurations.get(case.configuration)
        measured = outcome.timelines.get((*case.configuration, case.mode))
        if configuration is None:
            continue
        if backend.spans is not None:
            measured = backend.spans(configuration, case, seed)
        if measured is not None:
            numbers = case.in_process if case.predicted_in_process_ns is not None else None
            pairs[case.name] = predict(configuration.loaded, case.mode, seed, numbers).timeline, measured
    return pairs


def with_partings(results: ResultsFile, pairs: dict[str, Pair]) -> ResultsFile:
    """The results with a sentence in each of these cases whose timelines part."""
    cases = []
    for case in results.cases:
        parting = first_parting(*pairs[case.name]) if case.name in pairs else None
        cases.append(case if parting is None else case.model_copy(update={"parting": str(parting)}))
    return results.model_copy(update={"cases": tuple(cases)})
