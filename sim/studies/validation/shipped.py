"""The measurements that are shipped beside a profile, found without importing what made them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from scenarios.loader import LoadedScenario
from scenarios.shelf import SUITES
from sim.studies.validation.digest import run_digest
from sim.studies.validation.results_file import Captures, read_results

MANY = 8


@dataclass(frozen=True, slots=True)
class MeasuredMode:
    """What one mode of a scenario measured, in microseconds: the median of some repeats, and their noise.

    ``host_us`` is what the host thread did of it, where that was kept, ``in_process_us`` what is predicted of it with
    the costs that the host had at that moment.
    """

    us: float
    noise_us: float
    host_us: dict[str, float]
    in_process_us: float | None = None


@dataclass(frozen=True, slots=True)
class MeasuredScenario:
    """The shipped measurement of a scenario by mode, and where it is from."""

    modes: dict[str, MeasuredMode]
    source: str


def results_path(profile: str, suite: str) -> Path | None:
    """The shipped results of a suite on a profile's machine, None where there are none."""
    spec = find_spec("gpu")
    places = spec.submodule_search_locations if spec is not None else None
    path = Path(next(iter(places))) / "results" / profile / f"{suite}.json" if places else None
    return path if path is not None and path.is_file() else None


def measured_scenario(loaded: LoadedScenario) -> MeasuredScenario | None:
    """What the shipped results hold for exactly this run on this profile's machine, None where it was not measured."""
    digest = run_digest(loaded)
    for path in _paths(loaded.profile.name):
        results = read_results(path)
        modes = {
            case.mode: MeasuredMode(
                case.measured / 1000,
                case.noise_ns / 1000,
                {part: ns / 1000 for part, ns in case.host_ns.items()},
                None if case.predicted_in_process_ns is None else case.predicted_in_process_ns / 1000,
            )
            for case in results.cases
            if case.digest == digest and case.mode in loaded.modes
        }
        if modes:
            told = results.provenance
            source = f"measured on {told.get('gpu')}, {told.get('date')} (overlapsim validate {path.stem})"
            return MeasuredScenario(modes, source)
    return None


def measured_captures(loaded: LoadedScenario) -> list[tuple[Captures, dict[str, int]]]:
    """What capturing graphs of this scenario's model took on the profile's machine, and its host at each moment.

    Of runs that captured many: a lone graph is the first of its process, which takes up to three times as long.
    """
    name = getattr(loaded.model, "name", None)
    found = []
    for path in _paths(loaded.profile.name):
        results = read_results(path)
        for captures in results.captures:
            if captures.model == name and len(captures.rows) >= MANY:
                case = next((c for c in results.cases if c.name.startswith(captures.configuration)), None)
                found.append((captures, {} if case is None else case.in_process))
    return found


def _paths(profile: str) -> Iterator[Path]:
    found = (results_path(profile, suite) for suite in SUITES.names())
    return (path for path in found if path is not None)
