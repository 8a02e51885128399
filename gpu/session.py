"""A scenario made ready to run for real, any number of times in any of its modes."""

from __future__ import annotations

from typing import Protocol

from gpu.backend import On, check_backend, check_scenario
from gpu.machines.emulated import EmulatedDevice
from gpu.machines.serving import LoweredServing
from gpu.machines.wall import busy
from gpu.programs.session import ProgramSession
from gpu.training.emulated import EmulatedTraining
from scenarios.loader import LoadedScenario
from scenarios.model import TimerModel
from scenarios.program import Program
from scenarios.training import Training
from sim.program.constants import Constants
from sim.program.durations import Durations
from sim.program.priced import Priced
from sim.studies.program import program_costs
from sim.studies.serving import ServingRun
from sim.studies.training import lowering_of
from sim.timeline.spans import Timeline

__all__ = ["On", "Session", "open_session"]


class Session(Protocol):
    """What is made once (weights, buffers, captured graphs) and then run mode by mode, in wall-clock time."""

    def run(self, mode: str) -> Timeline:
        """Run one mode from its beginning to its end; times count from the start of the run."""

    def sampled(self) -> dict[int, list[int]] | None:
        """Each request's tokens in the latest run, late ones included; None where there are no real tokens."""

    def close(self) -> None:
        """Give back what the session holds."""


def open_session(loaded: LoadedScenario, on: On, seed: int = 0) -> Session:
    """Make a scenario ready on a backend.

    Raises ``ScenarioError`` for a backend that this machine lacks, for what the backend cannot do, and for what does
    not fit into the memory that is free.
    """
    check_backend(on)
    check_scenario(loaded, on)
    if isinstance(loaded.scenario, Program):
        return _program(loaded, loaded.scenario, on)
    if isinstance(loaded.scenario, Training):
        return _training(loaded, loaded.scenario, on)
    run = ServingRun.of(loaded, seed)
    if on == "emulated":
        return LoweredServing(run, lambda: EmulatedDevice(run.costs(), run.lowering()))
    if isinstance(run.model, TimerModel):
        from gpu.engine.timers import TimerDevice  # noqa: PLC0415  torch only where it is used

        return LoweredServing(run, lambda: TimerDevice(run.lowering()), busy)
    from gpu.engine.build import TorchRun  # noqa: PLC0415  torch only where it is used

    return TorchRun.of(run, on)


def _program(loaded: LoadedScenario, program: Program, on: On) -> Session:
    if on == "emulated":
        costs = program_costs(loaded)
        priced = Priced.of(program, Durations(loaded.profile, program.kernels.scale), costs.entering)
        return ProgramSession(program, priced, lambda: EmulatedDevice(costs))
    from gpu.programs.devices import CpuProgramDevice, CudaProgramDevice  # noqa: PLC0415  torch only where it is used
    from gpu.programs.torch_maker import TorchMaker  # noqa: PLC0415

    maker = TorchMaker(program, loaded.source, on)
    if on == "cpu":
        return ProgramSession(program, maker, CpuProgramDevice)
    return ProgramSession(program, maker, lambda: CudaProgramDevice(maker), in_one=True)


def _training(loaded: LoadedScenario, training: Training, on: On) -> Session:
    if on == "emulated":
        lowering = lowering_of(loaded)
        return EmulatedTraining(lowering, lowering.costs_on(Constants.of(loaded.profile).in_steps))
    from gpu.training.session import TrainingSession  # noqa: PLC0415  torch only where it is used

    return TrainingSession(training, loaded.source, on)
