"""A program scenario on a virtual machine, eager and as graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scenarios.loader import LoadedScenario
from scenarios.program import Program
from scenarios.training import Training
from sim.fast.machine import FastMachine
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.durations import Durations
from sim.program.priced import Priced
from sim.program.recipe import Recipe
from sim.studies.host_numbers import with_host_numbers
from sim.studies.machines import MachineName, simulate
from sim.studies.training import run_training
from sim.timeline.spans import Kind, Timeline


@dataclass(frozen=True, slots=True)
class ProgramMetrics:
    """One mode of a program; times are nanoseconds.

    ``total_ns`` runs from the first call to the return of the final synchronize, ``host_ns`` to the return of the last
    launch (where no launches were recorded, to the end of the host's last work), ``device_ns`` from the first start on
    a device to the last end. Graphs have been launched before.
    """

    total_ns: int
    host_ns: int
    device_ns: int
    launches: int
    kernels: int


def run_program(
    loaded: LoadedScenario,
    mode: str,
    seed: int = 0,
    machine: MachineName = "auto",
    *,
    numbers: Mapping[str, int] | None = None,
    profiled: bool = False,
) -> Timeline:
    """Run one mode of a scenario without a server.

    ``numbers`` are host times to use in place of the profile's; ``profiled`` means a process in which a profiler has
    run.
    """
    program = loaded.scenario
    if isinstance(program, Training):
        return run_training(loaded, mode, seed, machine, numbers=numbers)
    assert isinstance(program, Program)
    costs = program_costs(loaded, numbers, profiled=profiled)
    priced = Priced.of(program, Durations(loaded.profile, program.kernels.scale), costs.entering)

    def run(on: Machine | FastMachine) -> Timeline:
        recipe = Recipe(priced, graphs=mode == "graph")
        warm = {name for thread in program.threads for name in recipe.executables(thread.ops)}
        return on.run({thread.name: recipe.loop(thread.ops) for thread in program.threads}, warm=warm)

    quantiles = loaded.profile.jitter.quantiles if program.host.jitter else None
    return simulate(machine, run, costs, quantiles=quantiles, seed=seed)


def program_costs(
    loaded: LoadedScenario, numbers: Mapping[str, int] | None = None, *, profiled: bool = False
) -> HostCosts:
    """What a program's host threads pay, on the host that the scenario asks for; see ``run_program``."""
    engine = loaded.engine
    constants = Constants.profiled(loaded.profile) if profiled else Constants.of(loaded.profile)
    if numbers is not None:
        engine, constants = with_host_numbers(engine, constants, numbers)
    framework, scale = engine.framework, loaded.scenario.host.scale
    return HostCosts(constants, framework.by_kind, framework.default, scale=scale)


def program_metrics(timeline: Timeline) -> ProgramMetrics:
    """The metrics of a program's timeline."""
    start, end, kind = timeline.column("start"), timeline.column("end"), timeline.column("kind")
    calls, device = timeline.launching, timeline.on_device
    begin, busy = int(start.min()), calls if calls.any() else kind == Kind.HOST
    return ProgramMetrics(
        total_ns=int(end.max()) - begin,
        host_ns=int(end[busy].max()) - begin if busy.any() else 0,
        device_ns=int(end[device].max() - start[device].min()) if device.any() else 0,
        launches=int(np.count_nonzero(calls)),
        kernels=int(np.count_nonzero(kind == Kind.KERNEL)),
    )
