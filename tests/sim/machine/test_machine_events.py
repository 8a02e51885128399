"""Events between streams, and synchronizing a host thread with the device."""

from __future__ import annotations

from typing import Any

import pytest
from machine_worlds import Piece, host, kernel, program, run, spans

from sim.effects import DEVICE, Effect, Launch, Loop, Ready, Wait
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import STEP, Copy, Op, Record, Think, WaitEvent


def test_a_stream_waits_for_the_work_that_an_event_was_recorded_behind() -> None:
    pieces: list[Piece] = [
        ("main", [kernel("a", 1_000), Record("e"), kernel("z", 50)]),
        ("side", [WaitEvent("e"), kernel("b", 10)]),
    ]
    timeline = run(program(*pieces), launch_call=100, launch_latency=5, stream_gap=30)
    assert spans(timeline) == [("a", 105, 1_105), ("z", 1_145, 1_195)]  # behind b, which came first
    assert spans(timeline, "side") == [("b", 1_135, 1_145)]


def test_a_wait_in_a_stream_holds_no_host_thread_but_its_call() -> None:
    pieces: list[Piece] = [("main", [kernel("a", 1_000), Record("e")]), ("side", [WaitEvent("e"), kernel("b", 10)])]
    timeline = run(program(*pieces), launch_call=100, event_record_call=20, event_wait_call=30)
    assert [end for _, _, end in host(timeline)] == [100, 120, 150, 250, 1_110]


def test_waiting_for_an_event_that_nobody_has_recorded_is_no_wait() -> None:
    pieces: list[Piece] = [
        ("side", [WaitEvent("e"), kernel("b", 10, sm=0.5)]),
        ("main", [kernel("a", 99, sm=0.5), Record("e")]),
    ]
    assert spans(run(program(*pieces)), "side") == [("b", 0, 10)]


def test_a_wait_refers_to_the_latest_record_at_its_call() -> None:
    pieces: list[Piece] = [
        ("main", [kernel("a", 100, sm=0.2), Record("e")]),
        ("early", [WaitEvent("e"), kernel("b", 10, sm=0.2)]),
        ("main", [kernel("c", 100, sm=0.2), Record("e")]),
        ("late", [WaitEvent("e"), kernel("d", 10, sm=0.2)]),
    ]
    timeline = run(program(*pieces))
    assert spans(timeline, "early") == [("b", 100, 110)]
    assert spans(timeline, "late") == [("d", 200, 210)]


def test_a_stream_that_waits_for_two_events_goes_on_after_the_later() -> None:
    pieces: list[Piece] = [
        ("one", [kernel("a", 100, sm=0.2), Record("e")]),
        ("two", [kernel("b", 300, sm=0.2), Record("f")]),
        ("main", [WaitEvent("f"), WaitEvent("e"), kernel("c", 10)]),
    ]
    assert spans(run(program(*pieces))) == [("c", 300, 310)]


def test_a_timed_event_holds_its_stream_and_an_untimed_one_does_not() -> None:
    def two_kernels(*, timed: bool) -> list[tuple[str, int, int]]:
        ops: list[Op] = [kernel("a", 100), Record("e", timed), kernel("b", 100)]
        return spans(run(program(("main", ops)), timed_event=40, stream_gap=5))

    assert two_kernels(timed=True) == [("a", 0, 100), ("b", 145, 245)]
    assert two_kernels(timed=False) == [("a", 0, 100), ("b", 105, 205)]


def test_a_timed_event_fires_after_its_stamp() -> None:
    ops: list[Op] = [kernel("a", 100), Record("e", timed=True)]
    assert host(run(program(("main", ops), last="e"), timed_event=40))[-1] == ("cudaEventSynchronize", 0, 140)


def test_waiting_for_an_event_ends_with_what_precedes_it_and_for_the_device_with_everything() -> None:
    pieces: list[Piece] = [("main", [kernel("a", 1_000, sm=0.5), Record("e")]), ("side", [kernel("b", 5_000, sm=0.5)])]
    assert host(run(program(*pieces, last="e")))[-1] == ("cudaEventSynchronize", 0, 1_000)
    assert host(run(program(*pieces)))[-1] == ("cudaDeviceSynchronize", 0, 5_000)


def test_the_device_is_not_idle_before_its_copies_are_done() -> None:
    pieces: list[Piece] = [("main", [kernel("a", 100)]), ("side", [Copy("d2h", 700)])]
    assert host(run(program(*pieces)))[-1] == ("cudaDeviceSynchronize", 0, 700)


@pytest.mark.parametrize(
    ("how", "on", "end"),
    [("spin", "e", 1_003), ("blocking", "e", 1_050), ("spin", DEVICE, 1_009), ("blocking", DEVICE, 1_050)],
)
def test_each_way_to_synchronize_has_its_wake_up(how: Any, on: str, end: int) -> None:
    def loop() -> Loop[None]:
        yield Launch([kernel("a", 1_000), Record("e")], "main")
        yield Wait(on, how)

    assert host(run(loop(), wake_spin=3, wake_device=9, wake_blocking=50))[-1][2] == end


def test_a_wake_up_is_paid_only_if_the_event_fires_after_the_wait_began() -> None:
    def thinking(ns: int) -> int:
        ops: list[Op] = [kernel("a", 1_000), Record("e"), Think(ns)]
        return host(run(program(("main", ops), last="e"), wake_spin=500, event_sync_call=40))[-1][2]

    assert thinking(999) == 1_500
    assert thinking(1_000) == 1_040
    assert thinking(2_000) == 2_040


def test_synchronizing_takes_at_least_its_call() -> None:
    ops: list[Op] = [kernel("a", 10), Record("e")]
    constants = {"event_sync_call": 300, "device_sync_call": 700, "wake_spin": 20, "wake_device": 30}
    assert host(run(program(("main", ops), last="e"), **constants))[-1] == ("cudaEventSynchronize", 0, 300)
    assert host(run(program(("main", ops)), **constants))[-1] == ("cudaDeviceSynchronize", 0, 700)


def test_an_idle_device_that_never_ran_anything_costs_the_call() -> None:
    assert host(run(program(), device_sync_call=700, wake_device=30)) == [("cudaDeviceSynchronize", 0, 700)]


def test_a_step_is_waited_for_by_its_own_event() -> None:
    results: list[int] = []

    def loop() -> Loop[None]:
        first = yield Launch([kernel("a", 100), Record(STEP)], "main")
        second = yield Launch([kernel("b", 100), Record(STEP)], "main")
        results.append((yield Wait(first)).time)
        results.append((yield Wait(second)).time)

    run(loop())
    assert results == [100, 200]


def test_a_host_waiting_for_what_nobody_recorded_does_not_wait() -> None:
    timeline = run(program(("main", [kernel("a", 100)]), last="e"), event_sync_call=7, wake_spin=50)
    assert host(timeline)[-1] == ("cudaEventSynchronize", 0, 7)


def test_a_slower_host_takes_longer_to_synchronize() -> None:
    costs = HostCosts(Constants(event_sync_call=7, device_sync_call=11), scale=3.0)
    timeline = Machine(costs).run({"host": program(("main", [Record("e")]), last="e")})
    assert host(timeline)[-1] == ("cudaEventSynchronize", 0, 21)


def test_ready_tells_whether_the_event_has_fired_when_the_query_returns() -> None:
    answers: list[bool] = []

    def loop() -> Loop[None]:
        yield Launch([kernel("a", 100), Record("e")], "main")
        while len(answers) < 3:
            answers.append((yield Ready("e")))

    timeline = run(loop(), event_query_call=50)
    assert host(timeline)[-3:] == [("cudaEventQuery", 0, 50), ("cudaEventQuery", 50, 100), ("cudaEventQuery", 100, 150)]
    assert answers == [False, True, True]


def test_a_query_that_costs_nothing_still_sees_what_the_device_does_at_that_instant() -> None:
    answers: list[bool] = []

    def loop() -> Loop[None]:
        yield Launch([kernel("a", 0), Record("e")], "main")
        answers.append((yield Ready("e")))

    run(loop())
    assert answers == [True]


def test_a_loop_can_only_yield_effects() -> None:
    def loop() -> Loop[None]:
        unknown: Effect = "Launch"  # type: ignore[assignment]
        yield unknown

    with pytest.raises(TypeError, match="'Launch', which is no effect"):
        run(loop())
