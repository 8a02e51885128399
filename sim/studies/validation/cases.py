"""Making cases: of what was measured, of what an older file holds, and of what a configuration still lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from scenarios.errors import Problem, ScenarioError
from scenarios.loader import load_scenario
from scenarios.suite import Configuration
from sim.studies.noise import noise
from sim.studies.validation.clients import compared, repeats_of, speedup_of
from sim.studies.validation.digest import run_digest
from sim.studies.validation.predict import predict, quantity_of
from sim.studies.validation.results_file import Case, ResultsFile


def case_of(
    configuration: Configuration,
    mode: str,
    measured_ns: Sequence[int],
    host_numbers: Mapping[str, int],
    seed: int = 0,
    host_ns: Mapping[str, int] | None = None,
    clients: Sequence[Mapping[str, float]] = (),
) -> Case:
    """A mode's measurements, predicted with the shipped profile and with the host's costs of the same process.

    ``clients`` is what the clients of an open loop saw, by repeat.
    """
    loaded = configuration.loaded
    shipped = predict(loaded, mode, seed)
    in_process = predict(loaded, mode, seed, host_numbers) if host_numbers else None
    return Case(
        name=f"{configuration.name} {mode}",
        scenario=configuration.scenario,
        set=configuration.set,
        mode=mode,
        quantity=quantity_of(loaded),
        predicted_ns=shipped.ns,
        predicted_in_process_ns=None if in_process is None else in_process.ns,
        measured_ns=tuple(measured_ns),
        noise_ns=round(noise(measured_ns)),
        in_process=dict(host_numbers),
        parts=shipped.parts,
        digest=run_digest(loaded),
        host_ns=dict(host_ns or {}),
        clients=compared(shipped.clients, {} if in_process is None else in_process.clients, clients) if clients else {},
        speedup_of=speedup_of(loaded, shipped.timeline) if clients else "time",
    )


def is_finished(configuration: Configuration, cases: Iterable[Case]) -> bool:
    """Whether the cases hold every mode of it, as it is now."""
    digest = run_digest(configuration.loaded)
    key = (configuration.scenario, configuration.set)
    return set(configuration.modes) <= {c.mode for c in cases if c.configuration == key and c.digest == digest}


def predicted_again(results: ResultsFile) -> ResultsFile:
    """The same measurements beside what profile, preset and simulator predict now, from the seed they were made with.

    Raises ``ScenarioError`` for a case whose scenario is gone or asks for another run than the one that was measured.
    """
    cases, seed = [], results.provenance.get("seed", 0)
    loaded: dict[tuple[str, tuple[str, ...]], Configuration] = {}
    for case in results.cases:
        one = loaded.get(case.configuration)
        if one is None:
            scenario = load_scenario(case.scenario, case.set)
            one = loaded[case.configuration] = Configuration(case.scenario, case.set, scenario.modes, scenario)
        again = case_of(one, case.mode, case.measured_ns, case.in_process, seed, case.host_ns, repeats_of(case))
        if again.digest != case.digest:
            message = "asks for another run than the one that was measured: measure it again"
            raise ScenarioError([Problem(case.name, "", message)])
        cases.append(again)
    return results.model_copy(update={"cases": tuple(cases)})
