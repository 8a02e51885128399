"""What is run at random, and what is asked of it: one function an attack, each raising ``BrokenError``."""

from __future__ import annotations

import numpy as np

from sim.check.invariant import BrokenError, Evidence, Violation
from sim.check.programs import PROGRAMS
from sim.check.strategies.programs import FRAMEWORK, Program, loop
from sim.check.timelines import TIMELINES
from sim.check.witness import Witness
from sim.fast.machine import FastMachine
from sim.fast.refusal import OutsideError
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.timeline.spans import Timeline


def run_program(program: Program, constants: Constants) -> Evidence:
    """A program on the reference machine, watched."""
    costs, witness = HostCosts(constants, FRAMEWORK), Witness()
    return witness.evidence(Machine(costs).run({"host": witness.loop("host", loop(program))}), costs)


def attack_machine(program: Program, constants: Constants) -> None:
    """A program on the reference machine breaks no invariant; again, and on the fast machine, it gives the same."""
    evidence = run_program(program, constants)
    TIMELINES.hold(evidence)
    PROGRAMS.hold(evidence)
    costs = HostCosts(constants, FRAMEWORK)
    same("determinism", evidence.timeline, Machine(costs).run({"host": loop(program)}))
    try:
        fast = FastMachine(costs).run({"host": loop(program)})
    except OutsideError:
        return
    same("machines-agree", evidence.timeline, fast)


def same(invariant: str, one: Timeline, other: Timeline) -> None:
    """Raise ``BrokenError`` unless two timelines are equal to the nanosecond."""
    if (one.tracks, one.names, one.deliveries, one.served) == (
        other.tracks,
        other.names,
        other.deliveries,
        other.served,
    ):
        if np.array_equal(one.table, other.table):
            return
        shared = min(len(one.table), len(other.table))
        at = int(np.append((one.table[:shared] != other.table[:shared]).any(axis=1), values=True).argmax())
        rows = [t.table[at].tolist() if at < len(t.table) else "nothing" for t in (one, other)]
        spans: tuple[int, ...] = (at,)
        sentence = f"span {at} is {rows[0]} in one run and {rows[1]} in the other"
    else:
        sentence, spans = "two runs of the same differ in their tracks, names, deliveries or requests", ()
    raise BrokenError([Violation(invariant, sentence, spans)])
