"""A program scenario on a virtual machine, eager and as graphs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scenarios.loader import LoadedScenario
from scenarios.program import Program
from sim.fast.machine import FastMachine
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.durations import Durations
from sim.program.recipe import Recipe
from sim.studies.machines import MachineName, simulate
from sim.timeline.spans import Kind, Timeline


@dataclass(frozen=True, slots=True)
class ProgramMetrics:
    """One mode of a program; times are nanoseconds.

    ``total_ns`` runs from the first call to the return of the final synchronize, ``host_ns`` to the return of the last
    launch, ``device_ns`` from the first start on a device to the last end. Graphs have been launched before.
    """

    total_ns: int
    host_ns: int
    device_ns: int
    launches: int
    kernels: int


def run_program(loaded: LoadedScenario, mode: str, seed: int = 0, machine: MachineName = "auto") -> Timeline:
    """Run one mode of a program scenario."""
    program = loaded.scenario
    assert isinstance(program, Program)
    framework = loaded.engine.framework
    costs = HostCosts(Constants.of(loaded.profile), framework.by_kind, framework.default, scale=program.host.scale)
    durations = Durations(loaded.profile, program.kernels.scale)

    def run(on: Machine | FastMachine) -> Timeline:
        recipe = Recipe(durations, graphs=mode == "graph")
        warm = {name for thread in program.threads for name in recipe.executables(thread.ops)}
        return on.run({thread.name: recipe.loop(thread.ops) for thread in program.threads}, warm=warm)

    quantiles = loaded.profile.jitter.quantiles if program.host.jitter else None
    return simulate(machine, run, costs, quantiles=quantiles, seed=seed)


def program_metrics(timeline: Timeline) -> ProgramMetrics:
    """The metrics of a program's timeline."""
    start, end, kind = timeline.column("start"), timeline.column("end"), timeline.column("kind")
    calls = (kind == Kind.CALL) & (timeline.column("correlation") != 0)
    device = timeline.on_device
    begin = int(start.min())
    return ProgramMetrics(
        total_ns=int(end.max()) - begin,
        host_ns=int(end[calls].max()) - begin if calls.any() else 0,
        device_ns=int(end[device].max() - start[device].min()) if device.any() else 0,
        launches=int(np.count_nonzero(calls)),
        kernels=int(np.count_nonzero(kind == Kind.KERNEL)),
    )
