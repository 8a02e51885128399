"""Host times as distributions, and work of the server whose cost depends on its batch."""

from __future__ import annotations

import pytest
from machine_worlds import Span, host, kernel, program

from sim.effects import Host, Launch, Loop
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Op, Think
from sim.timeline.spans import Timeline

SPREAD = ((0.0, 0.5), (0.5, 1.0), (0.99, 2.0), (1.0, 10.0))
COSTS = HostCosts(Constants(launch_call=1_000), framework_default=2_000)


def jittery(seed: int, num_kernels: int = 50) -> Timeline:
    machine = Machine(COSTS, quantiles=SPREAD, seed=seed)
    return machine.run({"host": program(("main", [kernel("k", 700)] * num_kernels))})


def thinks(timeline: Timeline, thread: str) -> list[Span]:
    return [span for span in host(timeline, thread) if span[0] == "think"]


def test_equal_seeds_give_equal_bytes_and_others_do_not() -> None:
    assert jittery(7).table.tobytes() == jittery(7).table.tobytes()
    assert jittery(7).table.tobytes() != jittery(8).table.tobytes()


def test_a_run_is_a_prefix_of_a_longer_one() -> None:
    assert host(jittery(7, 2_000))[:40] == host(jittery(7, 40))[:40]


def test_factors_are_the_quantiles_that_they_were_given() -> None:
    calls = sorted(end - start for _, start, end in host(jittery(1, 4_001))[:-1])
    assert 1_500 <= calls[0] < 1_800  # half of 3000, and the two draws of a call are rarely both at their least
    assert calls[-1] <= 30_000
    machine = Machine(COSTS, quantiles=[(0.0, 2.0), (1.0, 2.0)])
    timeline = machine.run({"host": program(("main", [kernel("k", 700)] * 3))})
    assert [end for _, _, end in host(timeline)][:3] == [6_000, 12_000, 18_000]


def test_device_times_have_no_jitter() -> None:
    rows = jittery(3).on_track("main")
    assert set((rows[:, 2] - rows[:, 1]).tolist()) == {700}


def test_work_added_to_one_thread_does_not_change_the_draws_of_another() -> None:
    def loop(*ops: Op) -> Loop[None]:
        for op in ops:
            yield Launch([op])

    def second(num_first: int) -> list[int]:
        machine = Machine(COSTS, quantiles=SPREAD, seed=5)
        threads = {"one": loop(*[Think(100)] * num_first), "two": loop(*[Think(1_000)] * 20)}
        timeline = machine.run(threads, ranks={"one": 0, "two": 1})
        return [end - start for _, start, end in thinks(timeline, "two")]

    assert second(1) == second(30)
    assert len(set(second(1))) > 10


def test_threads_draw_from_streams_of_their_own() -> None:
    def loop() -> Loop[None]:
        yield Launch([Think(1_000)] * 20)

    machine = Machine(COSTS, quantiles=SPREAD, seed=5)
    timeline = machine.run({"one": loop(), "two": loop()}, ranks={"one": 0, "two": 1})
    assert thinks(timeline, "one") != thinks(timeline, "two")


def test_work_runs_at_its_start_and_returns_its_result_after_its_cost() -> None:
    results: list[object] = []

    def loop() -> Loop[None]:
        results.append((yield Host("schedule", lambda: "batch")))
        results.append((yield Host("process", lambda: "tokens")))

    costs = HostCosts(work={"schedule": (100, 0, 0), "process": (30, 0, 0)}, scale=2.0, extra=7)
    timeline = Machine(costs).run({"host": loop()})
    assert host(timeline) == [("schedule", 0, 207), ("process", 207, 267)]
    assert results == ["batch", "tokens"]


def test_work_that_fails_fails_the_run() -> None:
    def fails() -> None:
        raise LookupError("no such block")

    def loop() -> Loop[None]:
        yield Host("schedule", fails)

    with pytest.raises(LookupError, match="no such block"):
        Machine(COSTS).run({"host": loop()})
