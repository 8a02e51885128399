"""What goes wrong for once takes the time that it says, and breaks no invariant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.check.attacks import attack_again, attack_world
from sim.check.disturbance import Disturbance, disturbed
from sim.check.world import Asked, World
from sim.machine.machine import Machine
from sim.timeline.spans import Timeline

PLAIN = World((Asked(0, 4, 3), Asked(0, 4, 3)))


def served(world: World) -> Timeline:
    run = world.serving()
    machine = Machine(run.costs(), disturbed(run.lowering(), world.disturbances))
    return machine.run(run.threads(world.mode, run.server(world.mode)), world.source(), warm=run.warm())


@pytest.mark.parametrize("what", ["slow-kernel", "late-event", "stalled-host"])
def test_a_disturbed_step_takes_as_much_longer(what: str) -> None:
    slow = replace(PLAIN, disturbances=(Disturbance(what, 1, 300),))  # type: ignore[arg-type]
    plain, late = ([d.time for d in served(world).deliveries] for world in (PLAIN, slow))
    assert late[0] == plain[0]
    more = 300_000 + (late[1] - plain[1] - 300_000 if what == "late-event" else 0)  # a launch and its gap, too
    assert [b - a for a, b in zip(plain[1:], late[1:], strict=True)] == [more] * (len(plain) - 1)
    assert 300_000 <= more < 310_000
    assert attack_world(slow) is None
    attack_again(slow)


def test_the_first_kernel_of_a_graph_is_slow() -> None:
    graph = replace(PLAIN, mode="serial-graph", layers=True)
    slow = replace(graph, disturbances=(Disturbance("slow-kernel", 2, 300),))
    plain, late = (served(world).deliveries[2].time for world in (graph, slow))
    assert late - plain == 300_000


def test_a_world_tells_what_goes_wrong() -> None:
    assert str(replace(PLAIN, disturbances=(Disturbance("late-event", 2, 50),))).endswith(
        "late-event of 50 us in step 2"
    )
