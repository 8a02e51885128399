"""What a validation measures with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gpu.profiling.profiled import profiled_spans
from gpu.session import On, Session, open_session
from scenarios.loader import LoadedScenario
from scenarios.suite import Configuration
from scenarios.training import Training
from sim.studies.validation.results_file import Case
from sim.timeline.spans import Timeline

HostNumbers = dict[str, int]


@dataclass(frozen=True, slots=True)
class Backend:
    """How a scenario is made ready and how the host's costs are measured again in this process, a few numbers in ns.

    ``measure_host`` is told whether the scenario computes prompts, whose costs are numbers, too, then.
    ``spans`` runs some cases of a configuration once more in a process of its own that profiles and is ended after so
    many seconds, and returns their timelines by mode; without it, only what the timed runs record themselves can be
    compared span by span.
    """

    on: On
    open_session: Callable[[LoadedScenario, On, int], Session]
    measure_host: Callable[[On, bool], HostNumbers]
    spans: Callable[[Configuration, Sequence[Case], int, float], Mapping[str, Timeline]] | None = None


def backend_of(on: On) -> Backend:
    """The backend that this name stands for."""
    return Backend(on, open_session, _measure_host, _profiled if on == "cuda" else None)


def _profiled(configuration: Configuration, cases: Sequence[Case], seed: int, limit_s: float) -> dict[str, Timeline]:
    """Timelines from a process that profiles; none of training, which keeps no account of launches."""
    if isinstance(configuration.loaded.scenario, Training):
        return {}
    words = [configuration.scenario, *(word for text in configuration.set for word in ("--set", text))]
    words += ["--seed", str(seed)]
    clean = {case.mode: case.measured for case in cases}
    found = profiled_spans(configuration.loaded, words, clean, limit_s=limit_s)
    return {mode: one.timeline for mode, one in found.items()}


def _measure_host(on: On, prompts: bool) -> HostNumbers:
    """The engine's host costs; an emulated device sleeps them, and a CPU's launches are its computing."""
    if on != "cuda":
        return {}
    from gpu.calibration.in_process import measure, measure_prefill  # noqa: PLC0415  needs torch

    return measure() | (measure_prefill() if prompts else {})
