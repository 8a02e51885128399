"""A backend without hardware: a session that simulates a machine whose kernels take longer than predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gpu.session import On
from gpu.validation.backend import Backend
from scenarios.loader import LoadedScenario
from scenarios.scenario import Kernels, Serving
from sim.studies.program import run_program
from sim.studies.serving import ServingRun
from sim.timeline.spans import Timeline


@dataclass
class FakeHardware:
    """Runs what it is given on kernels that take ``slower`` times as long, one factor a run, over and over.

    ``runs`` lists every run as (scenario, mode), ``sessions`` counts those opened and not closed again. The run of
    number ``breaks_at`` fails.
    """

    slower: Sequence[float] = (1.1,)
    host_numbers: Sequence[dict[str, int]] = ({},)
    breaks_at: int | None = None
    runs: list[tuple[str, str]] = field(default_factory=list)
    sessions: int = 0
    host_measurements: int = 0
    asked_of_prompts: list[bool] = field(default_factory=list)

    def backend(self) -> Backend:
        return Backend("emulated", self.open, self.measure_host)

    def open(self, loaded: LoadedScenario, on: On, seed: int) -> FakeSession:
        assert (on, seed) == ("emulated", 0)
        self.sessions += 1
        return FakeSession(self, loaded)

    def measure_host(self, on: On, prompts: bool) -> dict[str, int]:
        assert on == "emulated"
        self.asked_of_prompts.append(prompts)
        self.host_measurements += 1
        return dict(self.host_numbers[(self.host_measurements - 1) % len(self.host_numbers)])


@dataclass
class FakeSession:
    hardware: FakeHardware
    loaded: LoadedScenario

    def run(self, mode: str) -> Timeline:
        if len(self.hardware.runs) == self.hardware.breaks_at:
            raise KeyboardInterrupt
        slower = self.hardware.slower[len(self.hardware.runs) % len(self.hardware.slower)]
        self.hardware.runs.append((self.loaded.scenario.title, mode))
        scenario = self.loaded.scenario.model_copy(update={"kernels": Kernels(scale=slower)})
        loaded = replace(self.loaded, scenario=scenario)
        return ServingRun.of(loaded).timeline(mode) if isinstance(scenario, Serving) else run_program(loaded, mode)

    def sampled(self) -> None:
        return None

    def close(self) -> None:
        self.hardware.sessions -= 1
