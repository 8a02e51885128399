"""A training scenario on a virtual machine, eager and captured in part or whole."""

from __future__ import annotations

from collections.abc import Mapping

from scenarios.loader import LoadedScenario
from scenarios.training import Training
from sim.fast.machine import FastMachine
from sim.machine.machine import Machine
from sim.program.constants import Constants
from sim.program.training import TrainingLowering
from sim.studies.machines import MachineName, simulate
from sim.timeline.spans import Timeline

EXECUTABLES = {"step", "gradients"}


def lowering_of(loaded: LoadedScenario) -> TrainingLowering:
    """The scenario's steps as operations; raises ``ScenarioError`` for sizes that were not measured."""
    training = loaded.scenario
    assert isinstance(training, Training)
    assert loaded.training is not None
    return TrainingLowering(training, loaded.training, loaded.source)


def run_training(
    loaded: LoadedScenario,
    mode: str,
    seed: int = 0,
    machine: MachineName = "auto",
    *,
    numbers: Mapping[str, int] | None = None,
) -> Timeline:
    """Run one mode of a training scenario, all of its steps. Graphs have been launched before.

    ``numbers`` say how fast the host is at the moment, see ``TrainingLowering.costs_on``.
    """
    lowering = lowering_of(loaded)
    costs = lowering.costs_on(Constants.of(loaded.profile).in_steps, numbers)

    def run(on: Machine | FastMachine) -> Timeline:
        return on.run({"main": lowering.loop(mode)}, warm=EXECUTABLES)

    quantiles = loaded.profile.jitter.quantiles if loaded.scenario.host.jitter else None
    return simulate(machine, run, costs, quantiles=quantiles, seed=seed)
