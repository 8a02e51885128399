"""Where claims are looked into: scenarios run once, however many claims ask for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scenarios.loader import LoadedScenario, list_models, load_model, load_profile, load_scenario
from scenarios.scenario import Hardware
from sim.studies.results import Results, predict_modes
from sim.studies.serving import ServingRun
from sim.studies.validation.results_file import Captures
from sim.studies.validation.shipped import MeasuredScenario, measured_captures, measured_scenario

Key = tuple[str, ...]
DEFAULT = Hardware().profile


@dataclass
class Lab:
    """Runs scenarios in virtual time, on any machine; ``progress`` is told which.

    ``profile`` is the card that is predicted, whose measurements stand beside.
    """

    progress: Callable[[str], None] = lambda _: None
    profile: str = DEFAULT
    _results: dict[Key, Results] = field(default_factory=dict)
    _measured: dict[Key, MeasuredScenario | None] = field(default_factory=dict)

    def load(self, scenario: str, *overrides: str) -> LoadedScenario:
        """A scenario with overrides as after ``--set``, on the lab's card."""
        card = () if self.profile == DEFAULT else (f"hardware.profile={self.profile}",)
        return load_scenario(scenario, (*overrides, *card))

    @property
    def card(self) -> str:
        """The name of the card that is predicted."""
        return load_profile(self.profile).provenance.gpu

    def results(self, scenario: str, *overrides: str) -> Results:
        """All modes of a scenario, simulated."""
        key = (scenario, *overrides)
        if key not in self._results:
            self.progress(" ".join(key))
            self._results[key] = predict_modes(self.load(*key))
        return self._results[key]

    def modes(self, scenario: str, *overrides: str) -> dict[str, dict[str, Any]]:
        """The numbers of all modes of a scenario, as ``run --json`` prints them."""
        return self.results(scenario, *overrides).modes

    def run(self, scenario: str, *overrides: str) -> ServingRun:
        """A serving scenario with all that can be changed of it."""
        return ServingRun.of(self.load(scenario, *overrides))

    def captures(self, scenario: str, *overrides: str) -> list[tuple[Captures, dict[str, int]]]:
        """What capturing graphs of the scenario's model took, and what launches took the host meanwhile."""
        return measured_captures(self.load(scenario, *overrides))

    def measured(self, scenario: str, *overrides: str) -> MeasuredScenario | None:
        """What the shipped results hold of exactly this run, None where it was not measured."""
        key = (scenario, *overrides)
        if key not in self._measured:
            self._measured[key] = measured_scenario(self.load(*key))
        return self._measured[key]


def models_by_size() -> list[str]:
    """The shipped models from the smallest on, without the one for tests."""
    return sorted((m for m in list_models() if m != "tiny"), key=lambda m: load_model(m).num_parameters)
