"""Which virtual machine a scenario runs on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from scenarios.errors import Problem, ScenarioError
from sim.fast.machine import FastMachine
from sim.fast.refusal import OutsideError
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.lowering import Lowering, no_lowering
from sim.timeline.spans import Timeline

MachineName = Literal["auto", "reference", "fast"]


def simulate(
    name: MachineName,
    run: Callable[[Machine | FastMachine], Timeline],
    costs: HostCosts,
    lower: Lowering = no_lowering,
    *,
    quantiles: Sequence[tuple[float, float]] | None = None,
    seed: int = 0,
    spans: bool = True,
) -> Timeline:
    """Have ``run`` use a machine: the fast one, with ``auto`` the reference where that refuses.

    ``run`` may be called twice and must start from scratch each time. The timeline says which machine made it, and
    why not the fast one. Without ``spans`` the fast machine keeps deliveries and served requests only. Raises
    ``ScenarioError`` for a run that is outside of the fast machine when it is asked for by name.
    """
    why = ""
    if name != "reference":
        try:
            return run(FastMachine(costs, lower, quantiles=quantiles, seed=seed, spans=spans))
        except OutsideError as error:
            if name == "fast":
                message = f"found 'fast', expected 'auto' or 'reference': this run has {error.feature}"
                raise ScenarioError([Problem("--machine", "", message)]) from error
            why = error.feature
    return replace(run(Machine(costs, lower, quantiles=quantiles, seed=seed)), refusal=why)
