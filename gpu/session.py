"""A scenario made ready to run for real, any number of times in any of its modes."""

from __future__ import annotations

from typing import Literal, Protocol

from scenarios.loader import LoadedScenario
from scenarios.scenario import Serving
from sim.studies.serving import ServingRun
from sim.timeline.spans import Timeline

On = Literal["emulated", "cpu", "cuda"]


class Session(Protocol):
    """What is made once (weights, buffers, captured graphs) and then run mode by mode, in wall-clock time."""

    def run(self, mode: str) -> Timeline:
        """Run one mode from its beginning to its end; times count from the start of the run."""

    def sampled(self) -> dict[int, list[int]] | None:
        """Each request's tokens in the latest run, late ones included; None where there are no real tokens."""

    def close(self) -> None:
        """Give back what the session holds."""


def open_session(loaded: LoadedScenario, on: On, seed: int = 0) -> Session:
    """Make a scenario ready on a backend."""
    if isinstance(loaded.scenario, Serving) and on in ("cpu", "cuda"):
        from gpu.engine.build import TorchRun  # noqa: PLC0415  torch only where it is used

        return TorchRun.of(ServingRun.of(loaded, seed), on)
    raise NotImplementedError(on)
