"""What is run at random, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sim.check.disturbance import Disturbance, disturbed
from sim.check.invariant import BrokenError, Violation
from sim.check.periods import PERIODS
from sim.check.programs import PROGRAMS
from sim.check.relays import RELAYS
from sim.check.timelines import TIMELINES
from sim.check.watch import PATIENCE, Watch
from sim.check.witness import Witness
from sim.check.world import World
from sim.effects import Loop, Source
from sim.fast.machine import FastMachine
from sim.fast.refusal import OutsideError
from sim.machine.clock import Callback, Clock
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.serving.batch import Batch
from sim.serving.policies import Policy
from sim.studies.serving import ServingRun
from sim.timeline.spans import Recorder, Timeline

MachineName = Literal["fast", "reference"]
MakePolicy = Callable[[], Policy]
CRASHES = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError, ArithmeticError)
"""What a scheduler or a policy may raise when it has lost its books."""


class Strict(Clock):
    """A clock that looks whether what is booked lies in the past, which the fast one does not."""

    def call_at(self, time: int, callback: Callback, value: object = None) -> None:
        """See ``Clock``; raises ``BrokenError`` for what would turn the clock back."""
        if time < self.now:
            raise BrokenError([Violation("monotone-clocks", f"at {self.now} ns something is booked for {time} ns")])
        super().call_at(time, callback, value)


@dataclass(frozen=True)
class Broken:
    """What a run broke, its batches, and its timeline up to there."""

    violations: tuple[Violation, ...]
    timeline: Timeline
    batches: tuple[Batch, ...]


def attack_machine(
    threads: Callable[[], Mapping[str, Loop[Any]]], costs: HostCosts, ranks: Mapping[str, int] | None = None
) -> None:
    """Loops of operations break no invariant on the reference; again, and on the fast machine, they give the same.

    ``ranks`` places the loops on devices. Raises ``BrokenError`` otherwise.
    """
    witness = Witness()
    machine = Machine(costs)
    machine.clock = Strict()
    first = machine.run({name: witness.loop(name, loop) for name, loop in threads().items()}, ranks=ranks)
    evidence = witness.evidence(first, costs)
    TIMELINES.hold(evidence)
    PROGRAMS.hold(evidence)
    same("determinism", first, Machine(costs).run(threads(), ranks=ranks))
    try:
        fast = FastMachine(costs).run(threads(), ranks=ranks)
    except OutsideError:
        return
    same("machines-agree", first, fast)


def attack_server(
    run: ServingRun,
    mode: str,
    source: Source,
    policy: MakePolicy | None = None,
    machine: MachineName = "reference",
    patience: int | None = PATIENCE,
    disturbances: Sequence[Disturbance] = (),
) -> Broken | None:
    """Serve requests under watch; None when every invariant held from the first request to the last.

    ``policy`` makes the policy that plans the steps, the engine's own where there is none. Raises ``OutsideError`` for
    a run that the fast machine refuses.
    """
    server = run.server(mode)
    if policy is not None:
        server.scheduler.policy = policy()
    watch = Watch(server, patience)
    witness = Witness(disturbed(run.lowering(), disturbances))
    costs = run.costs()
    warm = run.warm()
    running: Any = (Machine if machine == "reference" else FastMachine)(costs, witness.lower)
    if machine == "reference":
        running.clock = Strict()
    threads = {name: witness.loop(name, loop) for name, loop in run.threads(mode, watch).items()}
    timeline: Timeline | None = None
    try:
        timeline = running.run(threads, source, warm=warm)
        watch.at_rest()
        evidence = witness.evidence(timeline, costs, warm)
        TIMELINES.hold(evidence)
        PROGRAMS.hold(evidence)
        RELAYS.hold(evidence)
        PERIODS.hold(evidence)
    except BrokenError as error:
        violations = error.violations
    except OutsideError:
        raise
    except CRASHES as error:
        violations = (Violation("no-exception", f"{type(error).__name__}: {error}"),)
    else:
        return None
    if timeline is None:
        recorder: Recorder = getattr(running, "recorder", None) or Recorder()
        timeline = recorder.timeline()
    return Broken(violations, timeline, tuple(watch.batches))


def attack_world(
    world: World, policy: MakePolicy | None = None, machine: MachineName = "reference", patience: int | None = PATIENCE
) -> Broken | None:
    """Serve a world under watch."""
    run, source = world.serving(), world.source()
    return attack_server(run, world.mode, source, policy, machine, patience, world.disturbances)


def attack_again(world: World) -> None:
    """A world served twice gives the same, and so does the fast machine. Raises ``BrokenError`` otherwise."""
    run = world.serving()
    lower = disturbed(run.lowering(), world.disturbances) if world.disturbances else run.lowering()

    def served(machine: Any) -> Timeline:
        threads = run.threads(world.mode, run.server(world.mode))
        timeline: Timeline = machine.run(threads, world.source(), warm=run.warm())
        return timeline

    reference = served(Machine(run.costs(), lower))
    same("determinism", reference, served(Machine(run.costs(), lower)))
    try:
        fast = served(FastMachine(run.costs(), lower))
    except OutsideError:
        return
    same("machines-agree", reference, fast)


def same(invariant: str, one: Timeline, other: Timeline) -> None:
    """Raise ``BrokenError`` unless two timelines are equal to the nanosecond."""
    heads = [(t.tracks, t.names, t.deliveries, t.served) for t in (one, other)]
    spans: tuple[int, ...] = ()
    sentence = "two runs of the same differ in their tracks, names, deliveries or requests"
    if heads[0] == heads[1]:
        if np.array_equal(one.table, other.table):
            return
        shared = min(len(one.table), len(other.table))
        at = int(np.append((one.table[:shared] != other.table[:shared]).any(axis=1), values=True).argmax())
        rows = [t.table[at].tolist() if at < len(t.table) else "nothing" for t in (one, other)]
        spans, sentence = (at,), f"span {at} is {rows[0]} in one run and {rows[1]} in the other"
    raise BrokenError([Violation(invariant, sentence, spans)])
